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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ivme.bench.listening import Listener
from ivme.engines.batching import Batching
from ivme.measure.compare import ComparePlan
from ivme.measure.records import Comparison
from ivme.measure.statistics import median
from ivme.measure.verdict import blocks_needed
from ivme.tune.entries import Entry
from ivme.tune.material import spread_by_length
from ivme.tune.quality import least_texts
from ivme.tune.space import (
    BASELINE,
    Choice,
    first_batching,
    other_batchings,
    other_threads,
    shapes_for,
)
from ivme.tune.steps import SLOW, Steps
from ivme.tune.turns import paired_ratios
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.tune.configuration import TuneConfig

SCREEN_UNTIL = 0.45  # of the budget
QUICK_MORE = 0.05  # of the budget, for those that are ready at once
QUICK_SHARE = 0.01  # of the budget, of what counts as at once
JUDGE_UNTIL = 0.7
WIDEN_UNTIL = 0.8
HALVE_UNTIL = 0.85
SCREEN_SHARE = 1 / 250  # of the budget, of one pass of the baseline where variants are screened
BASELINE_SHARE = 1 / 80  # the same where it meets the chosen one: that takes twenty
PASS_SHARE = 1 / 200  # of the budget, of one pass of a variant where variants race
JUDGE_SHARE = 0.25  # of the budget, of the reference's answers
MOST_TEXTS = {"latency": 16, "throughput": 256}  # timed
LEAST_TEXTS = {"latency": 4, "throughput": 12}
MOST_JUDGED_AT_RANDOM = 64  # texts, where nothing is decided by them
ENOUGH = 3  # variants that passed the gate
WIDENED = 2  # variants that are tried on other thread counts
WARM_UP_ROUNDS = 2  # that a race takes besides those it times
MOST_OPEN = 4  # sessions beside the leader's
FIRST_ROUNDS = 4  # of the races that halve

# Of the variants that compute as the reference does, which lose nothing by definition.
REFERENCE_QUALITY = {"metric": "the reference itself", "is_accepted": True, "loss": 0.0}

MemoryMeter = Callable[[Variant], int | None]  # peak bytes; None: cannot be told


@dataclass(kw_only=True)
class Search:
    """One search and what it has found so far; it survives an interrupt.

    choices: what could run, the likeliest first. threads: counts to try; engines are compared
    with the first. measure_memory: of a variant that runs alone.
    """

    config: "TuneConfig"
    steps: Steps
    choices: Sequence[Choice]
    threads: Sequence[int]
    measure_memory: MemoryMeter
    listener: Listener = field(default_factory=Listener)
    on_entry: Callable[[Entry], None] = lambda entry: None
    entries: list[Entry] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chosen: Entry | None = None
    decided_s: float | None = None  # of spent_s, until it was chosen; the rest is evidence

    def __post_init__(self) -> None:
        """Start the clock of the budget."""
        self._start_s = self.steps.clock.now() - self.steps.journal.taken_s
        self._screened: tuple[str, ...] = ()  # what every variant runs on
        self._sample: tuple[str, ...] = ()  # what the baseline meets the chosen one on
        self._texts: tuple[str, ...] = ()  # what variants that passed run on
        self._judged_texts = 0

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
            self._decide(contenders)
        self.steps.sessions.keep_only(())

    @property
    def baseline(self) -> Entry:
        """The entry that all ratios are relative to."""
        return next(one for one in self.entries if one.is_baseline)

    def spent_s(self) -> float:
        """Return the seconds that this search has taken, in this run and in earlier ones."""
        return self.steps.clock.now() - self._start_s

    def left_s(self, share: float = 1.0) -> float:
        """Return what is left of that share of the budget."""
        return share * self.config.budget_s - self.spent_s()

    def _start(self) -> None:
        """Time the baseline, and settle how many texts the budget allows."""
        config, material = self.config, self.steps.material
        entry = self._add(Entry(variant=self.steps.baseline, is_baseline=True, ratio=1.0))
        self.listener.tell(f"timing the baseline, {entry.variant.name}")
        probe = spread_by_length(material.timed, 4)
        facts = self.steps.start(probe)
        self.notes += facts["fallbacks"]
        entry.first_call_s, text_s = facts["first_call_s"], facts["text_s"]
        entry.take_times([1.0], 1.0, [text_s * len(probe)], probe)
        entry.phases, entry.quality = facts["phases"], REFERENCE_QUALITY
        self._screened = self._sample_of(SCREEN_SHARE, text_s)
        self._sample = self._sample_of(BASELINE_SHARE, text_s)
        self._texts = self._sample
        self._settle_judged(int(config.budget_s * JUDGE_SHARE / text_s))
        self._update(entry, "in the race")

    def _sample_of(self, share: float, text_s: float) -> tuple[str, ...]:
        """Return as many of the timed texts as one pass may take of the budget."""
        objective = self.config.objective
        affordable = int(self.config.budget_s * share / text_s)
        count = max(LEAST_TEXTS[objective], min(MOST_TEXTS[objective], affordable))
        return spread_by_length(self.steps.material.timed, count)

    def _settle_judged(self, affordable: int) -> None:
        """Decide on how many texts quality is judged, and say what that can show."""
        given = len(self.steps.material.judged)
        if not self.steps.gate_settings["is_judged"]:
            self._judged_texts = min(given, affordable, MOST_JUDGED_AT_RANDOM) or 1
            self.notes.append(
                "random weights: answers mean nothing, so agreement is reported and decides nothing"
            )
            return
        self._judged_texts = max(1, min(given, affordable))
        if self._judged_texts < given:
            self.notes.append(
                f"the budget allows quality to be judged on {self._judged_texts} of {given} texts"
            )
        budget = self.config.max_quality_loss
        has_labels = self.steps.material.labels is not None
        needed = least_texts(self.steps.model.kind, budget, has_labels=has_labels)
        if needed is None or needed > self._judged_texts:
            many = "no number of texts shows" if needed is None else f"it takes {needed} texts"
            self.notes.append(
                f"{self._judged_texts} texts are too few for a quality loss of {budget:.2%}: even "
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
            facts = self.steps.screen(entry.variant, leader.variant, self._screened)
            if "failure" in facts:
                self._update(entry, "refused", facts["failure"])
                continue
            self._take_screening(entry, facts, leader)
            if _ratio(entry) < _ratio(leader):
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
        self._update(entry, "refused", choice.refusal)
        return None

    def _may_prepare(self, entry: Entry) -> bool:
        """Return whether the budget allows the variant to be made ready; say so if not."""
        name = f"screen {entry.label} beside "
        if any(step.startswith(name) for step in self.steps.journal.names):
            return True
        needed_s = self.steps.sessions.estimate_s(entry.variant)
        more = QUICK_MORE if needed_s <= QUICK_SHARE * self.config.budget_s else 0.0
        if needed_s <= self.left_s(SCREEN_UNTIL + more):
            return True
        reason = "no budget left to try it"
        if needed_s >= 1:
            reason = f"no budget left to make it ready, which takes about {needed_s:.0f} s"
        self._update(entry, "skipped", f"{reason}: raise --budget")
        return False

    def _take_screening(self, entry: Entry, facts: dict, leader: Entry) -> None:
        samples_s = facts["samples_s"]
        if facts["batch_size"] != entry.variant.batching.batch_size:
            batching = replace(entry.variant.batching, batch_size=facts["batch_size"])
            entry.variant = replace(entry.variant, batching=batching)
        entry.prepare_s, entry.first_call_s = facts["prepare_s"], facts["first_call_s"]
        self.steps.sessions.note_preparing(entry.variant.engine, facts["prepare_s"])
        entry.precision, entry.phases = facts["precision"], facts["phases"]
        entry.notes = (*facts["fallbacks"], *facts["notes"])
        ratios = paired_ratios(samples_s["variant"], samples_s["leader"])
        texts = spread_by_length(self._screened, facts["texts"])
        entry.take_times(ratios, _ratio(leader), samples_s["variant"], texts)
        if leader.is_baseline and len(leader.samples_s) < len(samples_s["leader"]):
            leader.take_times([1.0], _ratio(leader), samples_s["leader"], texts)
        self._update(entry, "in the race")

    def _drop_slow(self, leader: Entry) -> None:
        """Close the sessions of those that are too slow, or too many."""
        ahead = [one for one in self._ranked() if _ratio(one) <= SLOW * _ratio(leader)]
        kept = [leader, self.baseline, *ahead[: MOST_OPEN + 1]]
        self.steps.sessions.keep_only(one.variant for one in kept)

    def _judge(self) -> list[Entry]:
        """Return those that pass the gate, fastest first; as many as can still win."""
        passed: list[Entry] = []
        for entry in self._ranked():
            if entry.is_baseline and self._is_baseline_left_out():
                continue
            if passed and _ratio(entry) > SLOW * _ratio(passed[0]):
                self._update(entry, "slower", _times_slower(entry, passed[0]))
            elif len(passed) >= ENOUGH:
                self._update(entry, "slower", f"{ENOUGH} that keep quality are faster")
            elif self._passes(entry):
                passed.append(entry)
        return passed

    def _passes(self, entry: Entry) -> bool:
        """Judge the entry; the reference itself loses nothing by definition."""
        if (entry.variant.engine, entry.variant.precision) == BASELINE:
            entry.quality = REFERENCE_QUALITY
            self._update(entry, "accepted")
            return True
        name = f"judge {entry.label} on {self._judged_texts}"
        if name not in self.steps.journal and self.left_s(JUDGE_UNTIL) <= 0:
            self._update(entry, "skipped", "no budget left to judge its quality: raise --budget")
            return False
        return self._keeps_quality(entry)

    def _widen(self, passed: list[Entry]) -> list[Entry]:
        """Return those that passed, each with its best batching and thread count."""
        self._settle_texts(passed)
        contenders: list[Entry] = []
        for entry in passed:
            contenders.append(self._with_best_batching(entry, contenders[:1]))
        ranked = sorted(contenders, key=_ratio)
        return [*map(self._with_best_threads, ranked[:WIDENED]), *ranked[WIDENED:]]

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
        return other_batchings(self.config, self.steps.cost(entry.variant, self._texts))

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
            self._texts = self._sample_of(PASS_SHARE, min(map(_text_s, passed)))

    def _best_of(self, entry: Entry, variants: Sequence[Variant]) -> Entry:
        """Return the fastest of an entry and its variants in turns."""
        known = {one.label for one in self.entries}
        copies = [
            replace(entry, variant=one, is_baseline=False)
            for one in variants
            if one.label not in known
        ]
        rounds = self._affordable_rounds([entry, *copies], FIRST_ROUNDS, WIDEN_UNTIL)
        if rounds == 0 and copies:
            names = ", ".join(one.label for one in copies)
            self.notes.append(f"no budget left to try {names}")
        if rounds == 0 or not copies:
            return entry
        return min(self._race([entry, *map(self._add, copies)], rounds), key=_ratio)

    def _affordable_rounds(self, entries: Sequence[Entry], rounds: int, share: float) -> int:
        """Return as many of the rounds as that share of the budget allows, 0 if not even one."""
        round_s = len(self._texts) * sum(map(_text_s, entries))
        return max(0, min(rounds, int(self.left_s(share) / round_s) - WARM_UP_ROUNDS))

    def _race(self, entries: Sequence[Entry], rounds: int) -> list[Entry]:
        """Run the entries in turns, the first of them leading; return those that ran."""
        facts = self.steps.race([one.variant for one in entries], rounds, self._texts, SLOW)
        ran = [one for one in entries if one.label not in facts["failures"]]
        for label, reason in facts["failures"].items():
            failed = next(one for one in entries if one.label == label)
            self._update(failed, "refused", reason)
        samples_s, leader = facts["samples_s"], ran[0]
        leader_ratio = _ratio(leader)
        for one in ran:
            ratios = paired_ratios(samples_s[one.label], samples_s[leader.label])
            one.take_times(ratios, leader_ratio, samples_s[one.label], self._texts)
            self._update(one, one.status)
        return ran

    def _is_baseline_left_out(self) -> bool:
        """Return whether the caller asked for other engines alone."""
        return not any((one.engine, one.precision) == BASELINE for one in self.choices)

    def _is_only_the_baseline(self, contenders: Sequence[Entry]) -> bool:
        """Return whether nothing but the untuned model passed, though others were faster."""
        fastest = min(map(_ratio, contenders))
        lossy = [one for one in self.entries if one.status == "lossy" and _ratio(one) < fastest]
        return bool(lossy) and all(
            (one.variant.engine, one.variant.precision) == BASELINE
            and one.variant.batching == self.baseline.variant.batching
            for one in contenders
        )

    def _decide(self, contenders: list[Entry]) -> None:
        """Halve the contenders to two, and let these two meet."""
        rounds = FIRST_ROUNDS
        ranked = self._within_memory(sorted(contenders, key=_ratio))
        while len(ranked) > 2:
            rounds = self._affordable_rounds(ranked, rounds, HALVE_UNTIL)
            if rounds == 0:
                break
            self.listener.tell(f"{len(ranked)} in the race")
            ran = sorted(self._race(ranked, rounds), key=_ratio)
            ranked, rounds = ran[: max(2, len(ran) // 2)], 2 * rounds
        ranked = self._confirmed(ranked)
        if not ranked:
            return
        winner, *others = ranked
        if others:
            winner = self._meet(winner, others[0])
        self.chosen, self.decided_s = winner, self.spent_s()
        self._update(winner, "chosen")
        if not winner.is_baseline:
            self._meet_baseline(winner)
        self._tell_phases()
        self._measure_memory([winner, *others[:1], self.baseline], is_needed=False)
        self._judge_rest()

    def _confirmed(self, ranked: Sequence[Entry]) -> list[Entry]:
        """Return the two fastest that keep quality with the batches and padding they ended with.

        If none of them does, the fastest that did when it was judged first.
        """
        first = first_batching(self.config.objective)
        confirmed = []
        for entry in ranked:
            is_judged = entry.variant.batching == first or entry.is_baseline
            if is_judged or self._keeps_quality(entry):
                confirmed.append(entry)
            if len(confirmed) == 2:
                return confirmed
        judged = [one for one in self.entries if one.is_accepted and one.variant.batching == first]
        return confirmed or sorted(judged, key=_ratio)[:1]

    def _keeps_quality(self, entry: Entry) -> bool:
        self.listener.tell(f"judging {entry.label} on {self._judged_texts} texts")
        facts = self.steps.judge(entry.variant, self._judged_texts)
        if "failure" in facts:
            self._update(entry, "refused", facts["failure"])
            return False
        entry.quality = facts
        self._update(entry, "accepted" if entry.is_accepted else "lossy", _loss_sentence(facts))
        return entry.is_accepted

    def _meet(self, first: Entry, second: Entry) -> Entry:
        """Compare the two fastest, paired; return the faster one."""
        self.listener.tell(f"final: {first.label} and {second.label}")
        self.steps.sessions.keep_only((first.variant, second.variant, self.baseline.variant))
        comparison = self._compare(first, second, self._texts, 0.4)
        winner, loser = (first, second) if comparison.ratio <= 1 else (second, first)
        self.comparisons.append(comparison)
        self.listener.found(comparison)
        self._update(loser, "runner-up", _verdict_sentence(comparison))
        return winner

    def _meet_baseline(self, winner: Entry) -> None:
        self.listener.tell(f"{winner.label} and the baseline")
        comparison = self._compare(winner, self.baseline, self._sample, 0.7)
        winner.ratio, winner.interval = comparison.ratio, None
        if len(comparison.blocks) >= blocks_needed():
            winner.interval = comparison.interval
        self.comparisons.insert(0, comparison)
        self.listener.found(comparison)
        self._update(winner, "chosen")

    def _compare(
        self, entry: Entry, other: Entry, texts: Sequence[str], share: float
    ) -> Comparison:
        """Compare two entries, paired, in that share of what is left.

        On fewer texts where the blocks that a verdict takes would need more time.
        """
        budget_s = max(share * self.left_s(), 0.001)
        blocks = blocks_needed(len(ComparePlan().looks)) + 1
        text_s = _text_s(entry) * (blocks + 4) + _text_s(other) * (2 * blocks + 4)
        few = spread_by_length(texts, max(1, min(len(texts), int(budget_s / text_s))))
        return self.steps.compare(entry.variant, other.variant, few, budget_s)

    def _judge_rest(self) -> None:
        """Judge those that were too slow as well, as far as the budget goes: for the picture."""
        rest = [one for one in self.entries if one.status == "slower" and one.quality is None]
        for entry in sorted(rest, key=_ratio):
            needed_s = self.steps.sessions.estimate_s(entry.variant)
            needed_s += self._judged_texts * _text_s(entry)
            if 2 * needed_s > self.left_s():
                continue
            self.listener.tell(f"judging {entry.variant.name} on {self._judged_texts} texts")
            facts = self.steps.judge(entry.variant, self._judged_texts)
            entry.quality = None if "failure" in facts else facts
            self._update(entry, entry.status)
            self.steps.sessions.keep_only((self.baseline.variant,))

    def _tell_phases(self) -> None:
        """Say which variants read and write fastest, where these need not be the same."""
        timed = [one for one in self.entries if one.phases and one.is_accepted]
        for name, what in (
            ("first_token_s", "until the first token"),
            ("next_token_s", "for each later one"),
        ):
            if timed:
                best = min(timed, key=lambda one: one.phases[name])
                self.notes.append(
                    f"of those that keep quality, {best.variant.name} is fastest {what}: "
                    f"{1000 * best.phases[name]:.3g} ms"
                )

    def _within_memory(self, ranked: list[Entry]) -> list[Entry]:
        """Return those within the memory limit, measured alone; all where there is no limit."""
        limit = self.config.max_memory_bytes
        if limit is None:
            return ranked
        kept = []
        for entry in ranked:
            self._measure_memory([entry], is_needed=True)
            if entry.peak_memory_bytes is not None and entry.peak_memory_bytes <= limit:
                kept.append(entry)
            else:
                size = entry.peak_memory_bytes
                found = "cannot be told" if size is None else f"is {size / 1e6:,.0f} MB"
                self._update(entry, "too large", f"peak memory {found}: {limit / 1e6:,.0f} allowed")
        return kept

    def _measure_memory(self, entries: Sequence[Entry], *, is_needed: bool) -> None:
        """Measure those that have no figure yet; unless it is needed, only while time is left."""
        took_s = 0.0
        for one in entries:
            if one.peak_memory_bytes is not None or (not is_needed and self.left_s() <= took_s):
                continue
            self.listener.tell(f"memory of {one.label}")
            before_s = self.spent_s()
            one.peak_memory_bytes = self.measure_memory(one.variant)
            took_s = self.spent_s() - before_s
            self._update(one, one.status)

    def _ranked(self) -> list[Entry]:
        """Return the entries that ran, fastest first."""
        ran = [one for one in self.entries if one.status == "in the race"]
        return sorted(ran, key=_ratio)

    def _add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        return entry

    def _update(self, entry: Entry, status: str, reason: str = "") -> None:
        entry.status, entry.reason = status, reason or entry.reason
        self.on_entry(entry)


def _ratio(entry: Entry) -> float:
    assert entry.ratio is not None
    return entry.ratio


def _text_s(entry: Entry) -> float:
    """Return the seconds of a text in the entry's passes."""
    return median(entry.samples_s) / len(entry.texts)


def _times_slower(entry: Entry, other: Entry) -> str:
    return f"{_ratio(entry) / _ratio(other):.1f} times as slow as {other.variant.name}"


def _loss_sentence(facts: dict) -> str:
    needed = facts["texts_needed"]
    sentence = (
        f"{facts['metric']}: loses {facts['loss']:.2%} on {facts['texts']} texts, at most "
        f"{facts['loss_bound']:.2%}"
    )
    if facts["is_accepted"]:
        return sentence
    if needed is None:
        return f"{sentence}, and no number of texts would bring that to {facts['budget']:.2%}"
    return f"{sentence}; {needed} texts like these would do for {facts['budget']:.2%}"


def _verdict_sentence(comparison: Comparison) -> str:
    verdict = {"faster": "slower"}.get(comparison.verdict, comparison.verdict)
    return f"beside the chosen one: {verdict}"
