"""Axes: which settings a diagnosis tries, one at a time and together."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ivme.diagnose.settings import StepSettings

BATCH_SIZES = (2, 4, 8, 16, 32)
QUICK_BATCH_SIZES = (2, 8, 16)
WORKERS = (0, 2, 4)
PREFETCH = 4  # batches of each worker, against the usual 2
ACCUMULATION = 4
FIRST = ("dtype", "threads", "batch_size")  # to be tried before all others
FIRST_BATCH_SIZE = 8
TOGETHER = "together"  # the axis of settings turned two or more at a time

# Advice never turns these: they change what is learned, or are there to save memory.
NOT_ADVISED = ("sequence_length", "accumulation", "checkpointing")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting and the values of it to try; `weight` is its part of the time."""

    name: str  # a setting, or TOGETHER
    variants: tuple[StepSettings, ...]
    weight: float = 1.0


def make_axes(
    baseline: StepSettings,
    turnable: Collection[str],
    *,
    cores: int,
    longest: int | None = None,
    is_quick: bool = False,
) -> list[Axis]:
    """Return the settings to try one at a time, those that most often help first.

    cores: that this process may use. longest: tokens that the model takes; None: no limit.
    """
    batch_sizes = QUICK_BATCH_SIZES if is_quick else BATCH_SIZES
    length = baseline.sequence_length
    lengths = [one for one in (length // 2, 2 * length) if one and one <= (longest or one)]
    plans: list[tuple[str, Sequence[object], float]] = [
        ("dtype", ("float32", "bfloat16"), 1.0),
        ("threads", sorted({1, max(1, cores // 2), cores}), 1.0),
        ("batch_size", batch_sizes, 5.0),
        ("workers", WORKERS[:2] if is_quick else WORKERS, 1.5),
        ("sequence_length", () if is_quick else lengths, 1.5),
        ("checkpointing", () if is_quick else (False, True), 1.0),
        ("accumulation", () if is_quick else (1, ACCUMULATION), 1.5),
        ("compile", () if is_quick else (False, True), 3.0),
    ]
    axes = []
    for name, values, weight in plans:
        if name not in turnable:
            continue
        own = getattr(baseline, name)
        variants = [baseline.changed(**{name: value}) for value in values if value != own]
        if name == "workers" and "prefetch" in turnable and not is_quick:
            variants.append(baseline.changed(workers=WORKERS[1], prefetch=PREFETCH))
        variants = [one for one in dict.fromkeys(variants) if one != baseline]
        if variants:
            axes.append(Axis(name=name, variants=tuple(variants), weight=weight))
    return axes


def split_first(axes: Sequence[Axis]) -> tuple[list[Axis], list[Axis]]:
    """Return what to try first, all in one comparison, and the rest.

    First come those of FIRST, of batch sizes the one nearest to FIRST_BATCH_SIZE: where steps are
    slow there is time for no more.
    """
    first, rest = [], []
    for axis in axes:
        if axis.name not in FIRST:
            rest.append(axis)
        elif axis.name != "batch_size":
            first.append(axis)
        else:
            one = min(axis.variants, key=lambda settings: _distance(settings.batch_size))
            others = tuple(other for other in axis.variants if other != one)
            first.append(Axis(name=axis.name, variants=(one,)))
            if others:
                rest.append(Axis(name=axis.name, variants=others, weight=axis.weight))
    return first, rest


def _distance(batch_size: int) -> tuple[float, int]:
    """Return how far a batch size is from the first one to try; of two, the larger is nearer."""
    return abs(math.log2(batch_size / FIRST_BATCH_SIZE)), -batch_size


def make_pairs(
    baseline: StepSettings,
    best: dict[str, StepSettings],
    failed: Collection[str],
    turnable: Collection[str],
    *,
    is_quick: bool = False,
) -> Axis | None:
    """Return the settings that matter together: the best batch size with each other remedy.

    best: the fastest variant of each axis, baseline where none was faster. failed: axes of which
    nothing ran. Workers are paired even where they did not help alone: a larger batch takes longer
    to make. All that helped is tried at once; where it is to be quick, that alone. What turns one
    setting only was tried already.
    """
    start = best.get("batch_size", baseline)
    pairs = []
    for name in ("workers", "dtype", "threads", "compile"):
        if is_quick or name not in turnable or name in failed:
            continue
        value = getattr(best.get(name, baseline), name)
        if name == "workers" and value == baseline.workers:
            value = WORKERS[-1] if baseline.workers == 0 else 0
        pairs.append(start.changed(**{name: value}))
    pairs.append(all_at_once(baseline, best))
    variants = tuple(one for one in dict.fromkeys(pairs) if _count_turned(one, baseline) > 1)
    return Axis(name=TOGETHER, variants=variants, weight=4.0) if variants else None


def _count_turned(settings: StepSettings, baseline: StepSettings) -> int:
    """Return how many settings differ; prefetch is part of workers."""
    names = settings.differences(baseline)
    return len({"workers" if name == "prefetch" else name for name in names})


def all_at_once(baseline: StepSettings, best: dict[str, StepSettings]) -> StepSettings:
    """Return the baseline with every change that helped alone and may be advised."""
    changes = {}
    for name, variant in best.items():
        if name not in NOT_ADVISED:
            changes.update(variant.differences(baseline))
    return baseline.changed(**changes)
