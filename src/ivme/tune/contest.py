"""The contest: what a search knows of its variants, and the moves that all its phases share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ivme.bench.listening import Listener
from ivme.measure.records import Comparison
from ivme.measure.statistics import median
from ivme.tune.entries import Entry
from ivme.tune.material import spread_by_length
from ivme.tune.steps import SLOW, Steps, with_batch_size
from ivme.tune.turns import paired_ratios
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.tune.configuration import TuneConfig

MOST_TEXTS = {"latency": 16, "throughput": 256}  # timed
LEAST_TEXTS = {"latency": 4, "throughput": 12}
WARM_UP_ROUNDS = 2  # that a race takes besides those it times

MemoryMeter = Callable[[Variant], int | None]  # peak bytes; None: cannot be told


@dataclass(kw_only=True)
class Contest:
    """What is known of the variants so far, and how much of the budget is left.

    measure_memory: of a variant that runs alone. decided_s: of spent_s, until `chosen` was; the
    rest is evidence. screened, sample, texts: what runs where variants are screened, where the
    chosen one meets the baseline, and where those that passed race. raced: who, in each race.
    """

    config: "TuneConfig"
    steps: Steps
    measure_memory: MemoryMeter
    listener: Listener = field(default_factory=Listener)
    on_entry: Callable[[Entry], None] = lambda entry: None
    entries: list[Entry] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chosen: Entry | None = None
    decided_s: float | None = None
    screened: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    judged_texts: int = 0
    raced: list[list[Entry]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the clock of the budget."""
        self._start_s = self.steps.clock.now() - self.steps.journal.taken_s

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

    def sample_of(self, share: float, text_s: float) -> tuple[str, ...]:
        """Return as many of the timed texts as one pass may take of the budget."""
        objective = self.config.objective
        affordable = int(self.config.budget_s * share / text_s)
        count = max(LEAST_TEXTS[objective], min(MOST_TEXTS[objective], affordable))
        return spread_by_length(self.steps.material.timed, count)

    def keeps_quality(self, entry: Entry) -> bool:
        """Judge the entry as it would run, and keep the facts."""
        self.listener.tell(f"judging {entry.label} on {self.judged_texts} texts")
        facts = self.steps.judge(entry.variant, self.judged_texts)
        self.notes += facts.get("notes", ())
        if "failure" in facts:
            self.update(entry, "refused", f"no answers to judge: {facts['failure']}")
            return False
        self.use_batch_size(entry, facts["batch_size"], facts["fallbacks"])
        entry.quality = quality = facts["quality"]
        self.update(entry, "accepted" if entry.is_accepted else "lossy", _loss_sentence(quality))
        return entry.is_accepted

    def use_batch_size(self, entry: Entry, size: int, fallbacks: Sequence[str]) -> None:
        """Give the entry the batches that memory allowed it, and say why they are smaller."""
        if size != entry.variant.batching.batch_size:
            entry.variant = with_batch_size(entry.variant, size)
            entry.notes = tuple(dict.fromkeys((*entry.notes, *fallbacks)))

    def race(self, entries: Sequence[Entry], rounds: int) -> list[Entry]:
        """Run the entries in turns, the first of them leading; return those that ran, if any."""
        facts = self.steps.race([one.variant for one in entries], rounds, self.texts, SLOW)
        for one in entries:
            if one.label in facts["failures"]:
                self.update(one, "refused", facts["failures"][one.label])
        ran = [one for one in entries if one.label in facts["samples_s"]]
        if not ran:
            return []
        samples_s = {id(one): facts["samples_s"][one.label] for one in ran}
        leader_s, leader_ratio = samples_s[id(ran[0])], ratio_of(ran[0])
        if ran[0] is not entries[0]:  # it has no ratio of its own yet
            leader_ratio = median(leader_s) / len(self.texts) / text_s_of(self.baseline)
        for one in ran:
            if one.is_baseline:  # what all is relative to ran here itself: no need to chain
                leader_ratio = 1 / median(paired_ratios(samples_s[id(one)], leader_s))
        for one in ran:
            ratios = paired_ratios(samples_s[id(one)], leader_s)
            one.take_times(ratios, leader_ratio, samples_s[id(one)], self.texts)
            if one.is_baseline:
                one.ratio, one.interval = 1.0, None
            size = facts["batch_sizes"].get(one.label, one.variant.batching.batch_size)
            self.use_batch_size(one, size, facts["fallbacks"].get(one.label, ()))
            self.update(one, one.status)
        self.raced.append(ran)
        return ran

    def affordable_rounds(self, entries: Sequence[Entry], rounds: int, share: float) -> int:
        """Return as many of the rounds as that share of the budget allows, 0 if not even one."""
        round_s = len(self.texts) * sum(map(text_s_of, entries))
        return max(0, min(rounds, int(self.left_s(share) / round_s) - WARM_UP_ROUNDS))

    def update(self, entry: Entry, status: str, reason: str = "") -> None:
        """Keep what became of an entry, and tell whoever listens."""
        entry.status, entry.reason = status, reason or entry.reason
        self.on_entry(entry)


def ratio_of(entry: Entry) -> float:
    """Return the time over the baseline's, of an entry that ran."""
    assert entry.ratio is not None
    return entry.ratio


def text_s_of(entry: Entry) -> float:
    """Return the seconds of a text in the entry's passes."""
    return median(entry.samples_s) / len(entry.texts)


def _loss_sentence(facts: dict[str, Any]) -> str:
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
