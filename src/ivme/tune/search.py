"""The search: from all variants that could run to the fastest that keeps quality.

    baseline    float32 by hand: how long a text takes, and how many can be timed
    screen      every engine and precision in turns with the fastest so far; slow ones leave
    judge       the quality gate, the fastest first, until enough have passed
    widen       batch sizes and thread counts of those that passed
    halve       rounds of turns; half leaves after each, and the rounds double
    final       a paired comparison with the runner-up, and one with the baseline

It decides; what runs and takes time is in steps.py, and is remembered there, so that a search
goes on where it was interrupted. What the budget does not allow is left out, and said so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ivme.engines.answers import has_independent_labels
from ivme.engines.batching import Batching
from ivme.tune.contest import Contest, ratio_of, text_s_of
from ivme.tune.entries import Entry
from ivme.tune.finals import FIRST_ROUNDS, decide
from ivme.tune.material import spread_by_length
from ivme.tune.quality import least_texts
from ivme.tune.space import (
    Choice,
    first_batching,
    is_reference,
    other_batchings,
    other_threads,
    shapes_for,
)
from ivme.tune.steps import SLOW
from ivme.tune.turns import paired_ratios
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

SCREEN_UNTIL = 0.45  # of the budget
QUICK_MORE = 0.05  # of the budget, for those that are ready at once
QUICK_SHARE = 0.01  # of the budget, of what counts as at once
JUDGE_UNTIL = 0.7
WIDEN_UNTIL = 0.8
SCREEN_SHARE = 1 / 250  # of the budget, of one pass of the baseline where variants are screened
BASELINE_SHARE = 1 / 80  # the same where it meets the chosen one: that takes twenty
PASS_SHARE = 1 / 200  # of the budget, of one pass of a variant where variants race
JUDGE_SHARE = 0.25  # of the budget, of the reference's answers
MOST_JUDGED_AT_RANDOM = 64  # texts, where nothing is decided by them
ENOUGH = 3  # variants that passed the gate
MOST = 6  # where the budget has room to judge more
ANOTHER_SHARE = 0.02  # of the budget, that one more may take
ANOTHER_UNTIL = 0.5  # of the budget
WIDENED = 2  # variants that are tried on other thread counts
MOST_OPEN = 4  # sessions beside the leader's

# Of the variants that compute as the reference does, which lose nothing by definition.
REFERENCE_QUALITY = {"metric": "the reference itself", "is_accepted": True, "loss": 0.0}


@dataclass(kw_only=True)
class Search(Contest):
    """One search and what it has found so far; it survives an interrupt.

    choose: returns what could run a model, the likeliest first. threads: counts to try; engines
    are compared with the first.
    """

    choose: "Callable[[LoadedModel], Sequence[Choice]]"
    threads: Sequence[int]
    choices: Sequence[Choice] = ()  # once it is known on which device the model runs

    def run(self) -> None:
        """Fill in what is found; `chosen` is None if nothing keeps quality.

        Raises:
            OutOfMemoryError: not even the baseline fits.
        """
        self._start()
        self._screen()
        passed = self._judge()
        contenders = self._widen(passed)
        if contenders and not self._is_only_the_baseline(contenders):
            decide(self, contenders)
        self.steps.sessions.keep_only(())

    def _start(self) -> None:
        """Time the baseline, and settle how many texts the budget allows."""
        config, material = self.config, self.steps.material
        entry = self._add(Entry(variant=self.steps.baseline, is_baseline=True, ratio=1.0))
        self.listener.tell(f"timing the baseline, {entry.variant.name}")
        probe = spread_by_length(material.timed, 4)
        facts = self.steps.start(probe)
        self.notes += facts["fallbacks"]
        self.choices = self.choose(self.steps.model)
        entry.first_call_s, text_s = facts["first_call_s"], facts["text_s"]
        entry.take_times([1.0], 1.0, [text_s * len(probe)], probe)
        entry.phases, entry.quality = facts["phases"], REFERENCE_QUALITY
        self.screened = self.sample_of(SCREEN_SHARE, text_s)
        self.sample = self.sample_of(BASELINE_SHARE, text_s)
        self.texts = self.sample
        self._settle_judged(int(config.budget_s * JUDGE_SHARE / text_s))
        self.update(entry, "in the race")

    def _settle_judged(self, affordable: int) -> None:
        """Decide on how many texts quality is judged, and say what that can show."""
        given = len(self.steps.material.judged)
        if not self.steps.gate_settings["is_judged"]:
            self.judged_texts = min(given, affordable, MOST_JUDGED_AT_RANDOM) or 1
            self.notes.append(
                "random weights: answers mean nothing, so agreement is reported and decides nothing"
            )
            return
        self.judged_texts = max(1, min(given, affordable))
        if self.judged_texts < given:
            self.notes.append(
                f"the budget allows quality to be judged on {self.judged_texts} of {given} texts"
            )
        budget = self.config.max_quality_loss
        model = self.steps.model
        needed = least_texts(
            model.kind,
            budget,
            has_labels=self.steps.material.labels is not None,
            is_ranking=has_independent_labels(model) and len(model.labels) == 1,
        )
        if needed is None or needed > self.judged_texts:
            many = "no number of texts shows" if needed is None else f"it takes {needed} texts"
            self.notes.append(
                f"{self.judged_texts} texts are too few for a quality loss of {budget:.2%}: even "
                f"without any loss {many} to be sure of it"
            )

    def _screen(self) -> None:
        """Time every engine and precision beside the fastest so far."""
        leader = self.baseline
        for choice in self.choices:
            entry = self._enter(choice)
            if entry is None or not self._may_prepare(entry):
                continue
            self.listener.tell(f"screening {entry.variant.name}")
            facts = self.steps.screen(entry.variant, leader.variant, self.screened)
            if "failure" in facts:
                self.update(entry, "refused", facts["failure"])
                continue
            self._take_screening(entry, facts, leader)
            if ratio_of(entry) < ratio_of(leader):
                leader = entry
            self._drop_slow(leader)

    def _enter(self, choice: Choice) -> Entry | None:
        """Return a new entry to screen, None if there is nothing to do for the choice."""
        batching = first_batching(self.config.objective)
        variant = Variant(
            engine=choice.engine,
            precision=choice.precision or "any precision",
            threads=self.threads[0],
            batching=batching,
        )
        if variant == self.steps.baseline:
            return None
        entry = self._add(Entry(variant=variant))
        if choice.refusal is None:
            return entry
        self.update(entry, "refused", choice.refusal)
        return None

    def _may_prepare(self, entry: Entry) -> bool:
        """Return whether the budget allows the variant to be made ready; say so if not."""
        name = f"screen {entry.label} on {len(self.screened)} texts"
        if any(step.startswith(name) for step in self.steps.journal.names):
            return True
        needed_s = self.steps.sessions.estimate_s(entry.variant)
        more = QUICK_MORE if needed_s <= QUICK_SHARE * self.config.budget_s else 0.0
        if needed_s <= self.left_s(SCREEN_UNTIL + more):
            return True
        reason = "no budget left to try it"
        if needed_s >= 1:
            reason = f"no budget left to make it ready, which takes about {needed_s:.0f} s"
        self.update(entry, "skipped", f"{reason}: raise --budget")
        return False

    def _take_screening(self, entry: Entry, facts: dict, leader: Entry) -> None:
        samples_s = facts["samples_s"]
        entry.prepare_s, entry.first_call_s = facts["prepare_s"], facts["first_call_s"]
        self.steps.sessions.note_preparing(entry.variant.engine, facts["prepare_s"])
        entry.precision, entry.phases = facts["precision"], facts["phases"]
        self.use_batch_size(entry, facts["batch_size"], facts["fallbacks"])
        entry.notes = (*entry.notes, *facts["notes"])
        ratios = paired_ratios(samples_s["variant"], samples_s["leader"])
        texts = spread_by_length(self.screened, facts["texts"])
        entry.take_times(ratios, ratio_of(leader), samples_s["variant"], texts)
        if leader.is_baseline and len(leader.samples_s) < len(samples_s["leader"]):
            leader.take_times([1.0], ratio_of(leader), samples_s["leader"], texts)
        self.update(entry, "in the race")

    def _drop_slow(self, leader: Entry) -> None:
        """Close the sessions of those that are too slow, or too many."""
        ahead = [one for one in self._ranked() if ratio_of(one) <= SLOW * ratio_of(leader)]
        kept = [leader, self.baseline, *ahead[: MOST_OPEN + 1]]
        self.steps.sessions.keep_only(one.variant for one in kept)

    def _judge(self) -> list[Entry]:
        """Return those that pass the gate, fastest first; as many as can still win."""
        passed: list[Entry] = []
        for entry in self._ranked():
            if entry.is_baseline and self._is_baseline_left_out():
                continue
            if passed and ratio_of(entry) > SLOW * ratio_of(passed[0]):
                self.update(entry, "slower", _times_slower(entry, passed[0]))
            elif len(passed) >= ENOUGH and not self._has_room_for(entry, len(passed)):
                self.update(entry, "slower", f"{len(passed)} that keep quality are faster")
            elif self._passes(entry):
                passed.append(entry)
        return passed

    def _has_room_for(self, entry: Entry, passed: int) -> bool:
        """Return whether the budget allows one more to be judged than is enough."""
        if passed >= MOST:
            return False
        if f"judge {entry.label} on {self.judged_texts}" in self.steps.journal:
            return True
        needed_s = self.steps.sessions.estimate_s(entry.variant)
        needed_s += self.judged_texts * text_s_of(entry)
        room_s = min(ANOTHER_SHARE * self.config.budget_s, self.left_s(ANOTHER_UNTIL))
        return needed_s <= room_s

    def _passes(self, entry: Entry) -> bool:
        """Judge the entry; the reference itself loses nothing by definition."""
        if is_reference(entry.variant):
            entry.quality = REFERENCE_QUALITY
            self.update(entry, "accepted")
            return True
        name = f"judge {entry.label} on {self.judged_texts}"
        if name not in self.steps.journal and self.left_s(JUDGE_UNTIL) <= 0:
            self.update(entry, "skipped", "no budget left to judge its quality: raise --budget")
            return False
        return self.keeps_quality(entry)

    def _widen(self, passed: list[Entry]) -> list[Entry]:
        """Return those that passed, each with its best batching and thread count."""
        self._settle_texts(passed)
        contenders: list[Entry] = []
        for entry in passed:
            contenders.append(self._with_best_batching(entry, contenders[:1]))
        ranked = sorted(_left(contenders), key=ratio_of)
        return _left([*map(self._with_best_threads, ranked[:WIDENED]), *ranked[WIDENED:]])

    def _with_best_batching(self, entry: Entry, before: Sequence[Entry]) -> Entry:
        """Return the entry with its best batching.

        before: the one that was done before, if any; then only what was best there is tried.
        """
        if entry.is_baseline or self._is_over("batches of", entry):
            return entry
        self.listener.tell(f"batches of {entry.variant.name}")
        others = self._other_batchings(entry)
        if before:
            favorite = replace(before[0].variant.batching, cost=None)
            others = [one for one in others if replace(one, cost=None) == favorite]
        return self._best_of(entry, [replace(entry.variant, batching=one) for one in others])

    def _other_batchings(self, entry: Entry) -> list[Batching]:
        if self.config.objective == "latency":
            lengths = self.steps.count_tokens(self.steps.material.timed)
            return shapes_for(entry.variant.engine, lengths)
        cost, note = self.steps.cost(entry.variant, self.texts)
        if note is not None:
            entry.notes = (*entry.notes, note)
        return other_batchings(self.config, cost)

    def _with_best_threads(self, entry: Entry) -> Entry:
        others = other_threads(entry.variant, self.threads, self.config.objective)
        if not others or self._is_over("thread counts of", entry):
            return entry
        self.listener.tell(f"threads of {entry.variant.name}")
        return self._best_of(entry, others)

    def _is_over(self, what: str, entry: Entry) -> bool:
        """Return whether no budget is left to widen, and say so."""
        if self.left_s(WIDEN_UNTIL) > 0:
            return False
        self.notes.append(f"no budget left to try other {what} {entry.variant.name}")
        return True

    def _settle_texts(self, passed: Sequence[Entry]) -> None:
        """Choose as many texts as the fastest gets through in its share of the budget."""
        if passed:
            self.texts = self.sample_of(PASS_SHARE, min(map(text_s_of, passed)))

    def _best_of(self, entry: Entry, variants: Sequence[Variant]) -> Entry:
        """Return the fastest of an entry and its variants in turns."""
        known = {one.label for one in self.entries}
        copies = [
            replace(entry, variant=one, is_baseline=False, phases={})
            for one in variants
            if one.label not in known
        ]
        rounds = self.affordable_rounds([entry, *copies], FIRST_ROUNDS, WIDEN_UNTIL)
        if rounds == 0 and copies:
            names = ", ".join(one.label for one in copies)
            self.notes.append(f"no budget left to try {names}")
        if rounds == 0 or not copies:
            return entry
        ran = self.race([entry, *map(self._add, copies)], rounds)
        return min(ran, key=ratio_of, default=entry)

    def _is_baseline_left_out(self) -> bool:
        """Return whether the caller asked for other engines alone."""
        return not any(map(is_reference, self.choices))

    def _is_only_the_baseline(self, contenders: Sequence[Entry]) -> bool:
        """Return whether nothing but the untuned model passed, though others were faster."""
        fastest = min(map(ratio_of, contenders))
        lossy = [one for one in self.entries if one.status == "lossy" and ratio_of(one) < fastest]
        return bool(lossy) and all(
            is_reference(one.variant)
            and one.variant.batching == self.baseline.variant.batching
            and one.variant.threads == self.baseline.variant.threads
            for one in contenders
        )

    def _ranked(self) -> list[Entry]:
        """Return the entries that ran, fastest first."""
        ran = [one for one in self.entries if one.status == "in the race"]
        return sorted(ran, key=ratio_of)

    def _add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        return entry


def _left(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that have not failed meanwhile."""
    return [one for one in entries if one.status != "refused"]


def _times_slower(entry: Entry, other: Entry) -> str:
    return f"{ratio_of(entry) / ratio_of(other):.1f} times as slow as {other.variant.name}"
