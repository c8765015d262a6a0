"""Entries: what a search knows of each variant, as it learns it."""

from dataclasses import dataclass, field
from typing import Any

from ivme.measure.statistics import median, median_interval
from ivme.tune.variants import Variant

_FEWEST_FOR_INTERVAL = 5

STATUSES = {
    "waiting": "not tried yet",
    "refused": "the engine cannot run this model, or not here",
    "skipped": "left out, because the budget would not do",
    "slower": "too slow to be judged further",
    "in the race": "fast enough so far",
    "lossy": "loses more quality than allowed",
    "too large": "takes more memory than allowed",
    "accepted": "within the quality budget, and not the fastest",
    "runner-up": "the second fastest that keeps quality",
    "chosen": "the fastest that keeps quality",
}


@dataclass(kw_only=True)
class Entry:
    """One variant: how fast it was, what it loses, what became of it."""

    variant: Variant
    status: str = "waiting"  # of STATUSES
    reason: str = ""  # why it has that status, where there is more to say
    is_baseline: bool = False
    ratio: float | None = None  # time over the baseline's, chained through those it ran beside
    interval: tuple[float, float] | None = None  # of the ratio
    samples_s: tuple[float, ...] = ()  # of passes over `texts`
    texts: tuple[str, ...] = ()
    prepare_s: float | None = None
    first_call_s: float | None = None
    precision: str | None = None  # read back
    quality: dict[str, Any] | None = None
    peak_memory_bytes: int | None = None
    phases: dict[str, float] = field(default_factory=dict)  # generating: "first_token_s", ...
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What tells it from every other."""
        return self.variant.label

    @property
    def is_accepted(self) -> bool:
        """Whether its quality allows it to be chosen."""
        return self.quality is not None and bool(self.quality["is_accepted"])

    def take_times(
        self,
        ratios: list[float],
        leader_ratio: float,
        samples_s: list[float],
        texts: tuple[str, ...],
    ) -> None:
        """Keep new times; ratios: to a leader whose own ratio to the baseline is known."""
        self.ratio = leader_ratio * median(ratios)
        self.samples_s, self.texts = tuple(samples_s), texts
        self.interval = None
        if len(ratios) >= _FEWEST_FOR_INTERVAL:
            low, high = median_interval(ratios)
            self.interval = (leader_ratio * low, leader_ratio * high)
