"""Statistics of timings: percentiles, outliers and bootstrap intervals.

Timings on a shared machine are skewed, spiky and autocorrelated, so nothing here assumes a
distribution: figures are order statistics, intervals come from resampling. Outliers are counted,
never removed. numpy is loaded by the first interval, not by the import.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Resamples of one block's median to draw from: enough to stand for its distribution.
WITHIN_BLOCK_RESAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Order statistics of one set of samples, in the unit of the samples."""

    minimum: float
    median: float
    p90: float
    p99: float
    count: int


def percentiles(samples: Sequence[float]) -> Percentiles:
    """Return minimum, median, 90th and 99th percentile, interpolated linearly.

    Raises:
        ValueError: there are no samples.
    """
    ordered = sorted(samples)
    return Percentiles(
        minimum=_quantile(ordered, 0.0),
        median=_quantile(ordered, 0.5),
        p90=_quantile(ordered, 0.9),
        p99=_quantile(ordered, 0.99),
        count=len(ordered),
    )


def median(samples: Sequence[float]) -> float:
    """Return the median.

    Raises:
        ValueError: there are no samples.
    """
    return _quantile(sorted(samples), 0.5)


def classify_outliers(samples: Sequence[float]) -> list[str | None]:
    """Return for each sample "mild low", "mild high", "severe low", "severe high" or None.

    Tukey's fences: mild beyond 1.5, severe beyond 3 times the interquartile range.
    """
    if not samples:
        return []
    ordered = sorted(samples)
    lower, upper = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
    return [_tukey_class(one, lower, upper) for one in samples]


def count_outliers(samples: Sequence[float]) -> dict[str, int]:
    """Return how many samples are "mild" and "severe", and how many of both "low" and "high"."""
    classes = [one.split() for one in classify_outliers(samples) if one is not None]
    return {name: sum(name in one for one in classes) for name in ("mild", "severe", "low", "high")}


def hierarchical_interval(
    blocks: Sequence[Sequence[float]], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return an interval of the median of the medians of the blocks.

    Hierarchical bootstrap: blocks are drawn with replacement, then samples within each block
    drawn. Blocks stand for what changes slowly (drift, regime), samples for what changes from
    call to call. It is conservative: scatter within blocks also moves their medians, so it is
    counted twice.

    Raises:
        ValueError: there are no blocks, or a block has no samples.
    """
    import numpy as np

    if not blocks or not all(len(block) for block in blocks):
        raise ValueError("an interval needs one block or more, with one sample or more in each")
    generator = np.random.default_rng(seed)
    # medians[i, b]: the median of the i-th resample within block b. Drawing rows of this table
    # is drawing within the block, without sorting every block anew for every resample.
    medians = np.empty((WITHIN_BLOCK_RESAMPLES, len(blocks)))
    sizes = [len(block) for block in blocks]
    for size in sorted(set(sizes)):  # blocks of one size at once
        columns = [column for column, one in enumerate(sizes) if one == size]
        values: np.ndarray = np.array([list(blocks[column]) for column in columns], dtype=float)
        drawn = generator.integers(0, size, (WITHIN_BLOCK_RESAMPLES, *values.shape))
        resampled = np.take_along_axis(values[np.newaxis], drawn, axis=2)
        medians[:, columns] = np.median(resampled, axis=2)
    rows = generator.integers(0, WITHIN_BLOCK_RESAMPLES, (resamples, len(blocks)))
    drawn_blocks = generator.integers(0, len(blocks), (resamples, len(blocks)))
    return _central(np.median(medians[rows, drawn_blocks], axis=1).tolist(), level)


def median_interval(
    samples: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return an interval of the median of samples in the order in which they were taken.

    Circular block bootstrap: runs of neighboring samples are drawn whole, so that an interval of
    autocorrelated timings is not too narrow. The runs are as long as the correlation lasts.

    Raises:
        ValueError: there are no samples.
    """
    import numpy as np

    if not samples:
        raise ValueError("an interval needs one sample or more")
    values = np.asarray(samples, dtype=float)
    count, length = len(values), correlation_length(samples)
    runs = math.ceil(count / length)
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, count, (resamples, runs, 1))
    drawn = (starts + np.arange(length)).reshape(resamples, -1)[:, :count] % count
    return _central(np.median(values[drawn], axis=1).tolist(), level)


def correlation_length(samples: Sequence[float]) -> int:
    """Return after how many samples the ranks are no longer correlated, at least 1.

    At least the cube root of the number of samples (the usual length where nothing is known) and
    at most a quarter of it, so that four runs or more are drawn.
    """
    import numpy as np

    count = len(samples)
    shortest, longest = max(1, round(count ** (1 / 3))), max(1, count // 4)
    if min(samples) == max(samples):
        return 1
    ranks = np.argsort(np.argsort(np.asarray(samples))) - (count - 1) / 2
    spread = float(ranks @ ranks)
    noise = 2 / math.sqrt(count)  # what an uncorrelated series stays below
    for lag in range(1, longest):
        if float(ranks[lag:] @ ranks[:-lag]) / spread < noise:
            return min(max(lag, shortest), longest)
    return longest


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    if not ordered:
        raise ValueError("there are no samples")
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _tukey_class(sample: float, lower: float, upper: float) -> str | None:
    distance, side = (lower - sample, "low") if sample < lower else (sample - upper, "high")
    if distance > 3 * (upper - lower):
        return f"severe {side}"
    return f"mild {side}" if distance > 1.5 * (upper - lower) else None


def _central(draws: list[float], level: float) -> tuple[float, float]:
    ordered = sorted(draws)
    tail = (1 - level) / 2
    return _quantile(ordered, tail), _quantile(ordered, 1 - tail)
