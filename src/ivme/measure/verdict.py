"""Verdicts: from blocks of paired timings to "faster", "slower", "same" or "undecided".

Pure statistics: nothing here runs or times anything, so blocks taken elsewhere are judged alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ivme.errors import UsageError
from ivme.measure.records import Comparison
from ivme.measure.statistics import count_outliers, hierarchical_interval, median

CONTROL = "A/A control"  # the slot in each block in which the baseline runs a second time
ERROR_RATE = 0.05  # of all intervals of one comparison together


@dataclass(frozen=True, kw_only=True)
class ComparePlan:
    """How long to compare and when to call a difference one."""

    budget_s: float = 60.0  # seconds for warm-up, calibration and all blocks
    min_blocks: int = 10  # blocks before the first look at the interval
    max_blocks: int = 40
    visits: int = 5  # times that each variant is timed in a block; fewer if the budget is short
    # Shorter calls are timed several at a time. Within a scheduler's time slice (about 3 ms on
    # Linux) most visits are not interrupted: on a machine with three times as many busy threads
    # as cores, intervals were a tenth as wide with visits of 1 ms as with 5 ms.
    min_visit_s: float = 0.001
    warmup_calls: int = 3  # of each variant, not timed
    interval_width: float = 0.02  # stop when the interval, high / low - 1, is no wider
    equivalence_margin: float = 0.02  # ratios in [1/1.02, 1.02] count as the same
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("budget_s", "min_blocks", "visits", "interval_width", "equivalence_margin")
        for name in positive:
            if not getattr(self, name) > 0:  # nor is NaN
                raise UsageError(f"{name}={getattr(self, name)}; expected more than 0")
        if self.max_blocks < self.min_blocks:
            raise UsageError(
                f"max_blocks={self.max_blocks} with min_blocks={self.min_blocks}; expected as "
                "many or more"
            )
        if self.warmup_calls < 0 or self.min_visit_s < 0 or self.resamples < 100:
            raise UsageError(
                f"warmup_calls={self.warmup_calls}, min_visit_s={self.min_visit_s}, "
                f"resamples={self.resamples}; expected none below 0 and 100 resamples or more"
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """Return after which numbers of blocks the interval is looked at, to stop or go on."""
        looks, blocks = [], self.min_blocks
        while blocks < self.max_blocks:
            looks.append(blocks)
            blocks *= 2
        return (*looks, self.max_blocks)


def judge(
    blocks: Sequence[Mapping[str, Any]],
    baseline: str,
    variant: str,
    *,
    plan: ComparePlan | None = None,
    looks: int = 1,
    threads: int | None = None,
    stopped_by: str = "blocks",
    notes: Sequence[str] = (),
) -> Comparison:
    """Return what the blocks say about the variant against the baseline.

    blocks: each {"seconds": {name: [seconds of a call, ...]}}; the k-th samples of a block were
    taken close to each other and are paired. The control is judged where blocks have a slot of
    the name `CONTROL`. looks: how often intervals were or could have been looked at before the
    decision to stop; each gets its share of the 5% error (see `ivme.measure.compare`).

    The verdict is "same" if the interval lies within the equivalence margin; else "faster" or
    "slower" if it leaves out 1; else "undecided". It is "undecided" whatever the interval if the
    control shows a difference, or if there are too few blocks for any interval of that level.

    Raises:
        UsageError: no blocks, a block without one of the names, times that cannot be paired.
    """
    plan = plan or ComparePlan()
    differences = log_differences(blocks, baseline, variant)
    interval = ratio_interval(differences, plan, looks)
    verdict = _verdict(interval, plan.equivalence_margin)
    remarks = list(notes)
    has_control = all(CONTROL in block["seconds"] for block in blocks)
    control_interval = control_is_clean = None
    if has_control:
        control = log_differences(blocks, baseline, CONTROL)
        control_interval = ratio_interval(control, plan, looks)
        control_is_clean = _verdict(control_interval, plan.equivalence_margin) in (
            "same",
            "undecided",
        )
        if not control_is_clean:
            remarks.append(_unclean(baseline, control_interval))
    if len(blocks) < blocks_needed(looks):
        remarks.append(
            f"too few blocks for a verdict, {len(blocks)} of {blocks_needed(looks)} needed: raise "
            "the budget"
        )
    is_trusted = control_is_clean is not False and len(blocks) >= blocks_needed(looks)
    names = [baseline, variant, *([CONTROL] if has_control else [])]
    return Comparison(
        baseline=baseline,
        variant=variant,
        ratio=math.exp(median([median(one) for one in differences])),
        interval=interval,
        verdict=verdict if is_trusted else "undecided",
        equivalence_margin=plan.equivalence_margin,
        blocks=tuple(_only(block, names) for block in blocks),
        control_interval=control_interval,
        control_is_clean=control_is_clean,
        outliers={name: count_outliers(_pooled(blocks, name)) for name in names},
        threads=threads,
        stopped_by=stopped_by,
        notes=tuple(remarks),
    )


def blocks_needed(looks: int = 1) -> int:
    """Return the fewest blocks that can carry a verdict.

    However far apart two variants seem, n blocks all point the same way by chance with
    probability 2^(1 - n); below this number that is more often than the error rate allows.
    """
    return 1 + math.ceil(math.log2(looks / ERROR_RATE))


def log_differences(
    blocks: Sequence[Mapping[str, Any]], baseline: str, variant: str
) -> list[list[float]]:
    """Return for each block the logs of variant time / baseline time of its paired samples.

    Raises:
        UsageError: no blocks, a block without one of the names, times that cannot be paired.
    """
    if not blocks:
        raise UsageError("no blocks to judge; expected one or more: measure first")
    return [_paired_logs(block["seconds"], baseline, variant) for block in blocks]


def ratio_interval(
    differences: Sequence[Sequence[float]], plan: ComparePlan, looks: int = 1
) -> tuple[float, float]:
    """Return the interval of variant time / baseline time, at 1 - 5% / looks."""
    low, high = hierarchical_interval(
        differences, level=1 - ERROR_RATE / looks, resamples=plan.resamples, seed=plan.seed
    )
    return math.exp(low), math.exp(high)


def _paired_logs(
    seconds: Mapping[str, Sequence[float]], baseline: str, variant: str
) -> list[float]:
    for name in (baseline, variant):
        if name not in seconds:
            raise UsageError(f"a block lacks {name!r}; it has {sorted(seconds)}")
    before, after = seconds[baseline], seconds[variant]
    if len(before) != len(after) or not before or min(*before, *after) <= 0:
        raise UsageError(
            f"a block has {len(before)} times of {baseline!r} and {len(after)} of {variant!r}; "
            "expected as many of each, one or more, all above 0 s: time more calls at once"
        )
    return [math.log(b / a) for a, b in zip(before, after, strict=True)]


def _verdict(interval: tuple[float, float], margin: float) -> str:
    low, high = interval
    if low >= 1 / (1 + margin) and high <= 1 + margin:
        return "same"
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "undecided"


def _unclean(baseline: str, interval: tuple[float, float]) -> str:
    low, high = interval
    return (
        f"the control, {baseline} against itself, shows a difference (ratio {low:.3f} to "
        f"{high:.3f}): this run cannot be trusted; measure again on a quieter machine"
    )


def _pooled(blocks: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [one for block in blocks for one in block["seconds"][name]]


def _only(block: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    seconds = {name: list(block["seconds"][name]) for name in names}
    return {**block, "seconds": seconds}
