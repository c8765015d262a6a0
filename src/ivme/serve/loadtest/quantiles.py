"""Quantiles of latencies, with intervals that respect that slow requests come in runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ivme.measure.statistics import correlation_length

QUANTILES = (0.5, 0.9, 0.99, 0.999)
FEWEST_FOR_INTERVAL = 20
MOST_DRAWS = 40_000_000  # samples times resamples: about a second
MOST_RESAMPLES = 1000
FEWEST_RESAMPLES = 100
MOST_CORRELATED = 50_000  # samples in which to look for how long the correlation lasts
FEWEST_RUNS = 8  # drawn into a resample, however long the correlation lasts


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """A quantile in the unit of the samples; interval: 95%, None where there are too few."""

    fraction: float
    value: float
    interval: tuple[float, float] | None


def latency_quantiles(samples: Sequence[float], *, seed: int = 0) -> tuple[Quantile, ...]:
    """Return p50, p90, p99 and p99.9 of samples in the order in which they were taken.

    A quantile that fewer than one sample in all lies beyond is left out: the largest sample says
    nothing about it. Intervals: circular block bootstrap, in blocks as long as the samples are
    correlated.
    """
    import numpy as np

    known = [one for one in QUANTILES if len(samples) * (1 - one) >= 1 - 1e-9]
    if not known:
        return ()
    values = np.asarray(samples, dtype=float)
    found = np.quantile(values, known)
    intervals = _intervals(values, known, seed) if len(samples) >= FEWEST_FOR_INTERVAL else {}
    return tuple(
        Quantile(fraction=fraction, value=float(value), interval=intervals.get(fraction))
        for fraction, value in zip(known, found, strict=True)
    )


def _intervals(
    values: "object", fractions: Sequence[float], seed: int
) -> dict[float, tuple[float, float]]:
    """Return the central 95% of each quantile over the resamples.

    A resample is how often each sample was drawn, so that nothing is sorted but the samples.
    """
    import numpy as np

    assert isinstance(values, np.ndarray)
    count = len(values)
    correlated = correlation_length(values[:MOST_CORRELATED].tolist())
    length = max(1, min(correlated, count // FEWEST_RUNS))
    runs = -(-count // length)
    resamples = max(FEWEST_RESAMPLES, min(MOST_RESAMPLES, MOST_DRAWS // count))
    order = np.argsort(values, kind="stable")
    ordered, generator = values[order], np.random.default_rng(seed)
    ranks = np.asarray(fractions) * (runs * length)
    draws = np.empty((resamples, len(fractions)))
    for row in draws:
        starts = generator.integers(0, count, runs)
        steps = np.bincount(starts, minlength=2 * count)
        steps -= np.bincount(starts + length, minlength=2 * count)
        times = np.cumsum(steps)
        drawn = np.cumsum((times[:count] + times[count:])[order])
        row[:] = ordered[np.minimum(np.searchsorted(drawn, ranks), count - 1)]
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    return {
        fraction: (float(below), float(above))
        for fraction, below, above in zip(fractions, low, high, strict=True)
    }
