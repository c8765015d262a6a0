"""Figures of one classifier from its scores, each with a 95% interval.

One label is the one to find, the positive; every other is negative. Knows neither texts nor models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
FEWEST_RESAMPLES, MOST_RESAMPLES = 200, 1000
MOST_DRAWS = 4_000_000
BINS = 10  # of scores, for calibration
_CELLS = 2**20  # of resamples x texts at a time: what caches hold
_TAIL = (1 - LEVEL) / 2

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and its interval; None where the texts cannot tell."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What a classifier said of texts, and what is true.

    scores: float64 [texts], how likely the positive label is, 0 to 1; is_positive: bool [texts];
    is_right: bool [texts], whether the label that it chose is the true one. found: by rate of false
    positives, the texts at or above the threshold that was fixed for it, on other texts.
    """

    scores: Floats
    is_positive: Booleans
    is_right: Booleans
    found: Mapping[str, Booleans]

    def at(self, where: Booleans) -> "Scored":
        """Return the same of some of the texts."""
        return Scored(
            scores=self.scores[where],
            is_positive=self.is_positive[where],
            is_right=self.is_right[where],
            found={rate: is_found[where] for rate, is_found in self.found.items()},
        )


def figures_of(scored: Scored, resamples: int | None = None, seed: int = 0) -> dict[str, Figure]:
    """Return AUROC, accuracy, true and false positives, calibration error and Brier score.

    Shares of texts get Wilson's interval, which has a width even where nothing went wrong. The
    others get a bootstrap over texts, less the bias that it shows: resampled calibration errors
    are larger than the one that they resample. resamples: None: fewer, the more texts there are.
    """
    figures = {"auroc": Figure(value=None, interval=None)}
    figures["accuracy"] = share(scored.is_right)
    for rate, is_found in scored.found.items():
        figures[f"tpr_at_{rate}"] = share(is_found[scored.is_positive])
        figures[f"fpr_at_{rate}"] = share(is_found[~scored.is_positive])
    measures = {"calibration_error": calibration_measure(scored), "brier": brier_measure(scored)}
    if 0 < scored.is_positive.sum() < len(scored.scores):
        measures["auroc"] = auroc_measure(scored)
    return figures | bootstrap(measures, len(scored.scores), resamples, seed)


def share(outcomes: Booleans) -> Figure:
    """Return the share of outcomes that are true.

    Source of the interval: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    count = len(outcomes)
    if not count:
        return Figure(value=None, interval=None)
    found, z = float(outcomes.mean()), NormalDist().inv_cdf(1 - _TAIL)
    spread = 1 + z * z / count
    center = (found + z * z / (2 * count)) / spread
    half = z / spread * (found * (1 - found) / count + z * z / (4 * count * count)) ** 0.5
    return Figure(value=found, interval=(max(0.0, center - half), min(1.0, center + half)))


Measure = Callable[[Floats], Floats]  # [resamples, texts] weights -> [resamples] figures


def auroc_measure(scored: Scored) -> Measure:
    """Return how to compute the area under the ROC curve of weighted texts; equal scores share."""
    order = np.argsort(scored.scores, kind="stable")
    ordered, is_positive = scored.scores[order], scored.is_positive[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))

    def measure(weights: Floats) -> Floats:
        drawn = weights[:, order]
        positives = np.add.reduceat(drawn * is_positive, starts, axis=1)
        negatives = np.add.reduceat(drawn * ~is_positive, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        with np.errstate(invalid="ignore"):  # a resample of one label alone has no pairs
            return (positives * below).sum(axis=1) / pairs

    return measure


def calibration_measure(scored: Scored) -> Measure:
    """Return how to compute the expected calibration error: mean distance of bins, by texts."""
    gaps = np.zeros((len(scored.scores), BINS))
    gaps[np.arange(len(gaps)), bin_numbers(scored.scores)] = scored.scores - scored.is_positive
    return lambda weights: np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def brier_measure(scored: Scored) -> Measure:
    """Return how to compute the mean square of score less truth."""
    squares = (scored.scores - scored.is_positive) ** 2
    return lambda weights: weights @ squares / weights.sum(axis=1)


def bootstrap(
    measures: Mapping[str, Measure], count: int, resamples: int | None = None, seed: int = 0
) -> dict[str, Figure]:
    """Return each measure of `count` items, and the interval that drawing them anew gives it."""
    if not count:
        return {name: Figure(value=None, interval=None) for name in measures}
    once = np.ones((1, count))
    values = {name: float(measure(once)[0]) for name, measure in measures.items()}
    draws: dict[str, list[Floats]] = {name: [] for name in measures}
    generator = np.random.default_rng(seed)
    for size in _block_sizes(resamples or resamples_for(count), count):
        weights = _draw(generator, size, count)
        for name, measure in measures.items():
            draws[name].append(measure(weights))
    return {
        name: Figure(value=values[name], interval=_interval(values[name], np.concatenate(drawn)))
        for name, drawn in draws.items()
    }


def resamples_for(count: int) -> int:
    """Return how often to draw that many items anew, so that it takes a second at most."""
    return int(np.clip(MOST_DRAWS // count, FEWEST_RESAMPLES, MOST_RESAMPLES))


def bin_numbers(scores: Floats) -> NDArray[np.intp]:
    """Return the calibration bin of each score, BINS of equal width."""
    return np.minimum((scores * BINS).astype(np.intp), BINS - 1)


def reliability(scored: Scored) -> list[dict[str, float | int]]:
    """Return mean score, share of positives with its interval, and texts of each bin in use."""
    numbers, bins = bin_numbers(scored.scores), []
    for number in np.unique(numbers):
        inside = numbers == number
        found = share(scored.is_positive[inside])
        assert found.value is not None
        assert found.interval is not None
        bins.append(
            {
                "score": float(scored.scores[inside].mean()),
                "share": found.value,
                "low": found.interval[0],
                "high": found.interval[1],
                "texts": int(inside.sum()),
            }
        )
    return bins


def roc_curve(scored: Scored, most_points: int = 200) -> list[tuple[float, float]]:
    """Return points (false positives, true positives), rising; the corners of the curve.

    Of more than `most_points`, those are kept that are evenly spaced along both axes.
    """
    order = np.argsort(-scored.scores, kind="stable")
    ordered, is_positive = scored.scores[order], scored.is_positive[order]
    is_last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    true_share = np.cumsum(is_positive)[is_last_of_equals] / max(is_positive.sum(), 1)
    false_share = np.cumsum(~is_positive)[is_last_of_equals] / max((~is_positive).sum(), 1)
    points = [(0.0, 0.0), *zip(false_share.tolist(), true_share.tolist(), strict=True)]
    return _thinned(_corners(points), most_points)


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points without those on a straight line between their neighbors."""
    kept = [points[0]]
    for before, point, after in zip(points, points[1:], points[2:], strict=False):
        is_flat = before[1] == point[1] == after[1]
        is_steep = before[0] == point[0] == after[0]
        if not is_flat and not is_steep:
            kept.append(point)
    return [*kept, *points[-1:]] if len(points) > 1 else kept


def _thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    if len(points) <= most:
        return points
    # Low shares of false positives matter most, so steps are even in the rank along the curve.
    kept = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[index] for index in kept]


def _block_sizes(resamples: int, count: int) -> list[int]:
    most = max(1, _CELLS // count)
    whole, rest = divmod(resamples, most)
    return [most] * whole + [rest] * bool(rest)


def _draw(generator: np.random.Generator, resamples: int, count: int) -> Floats:
    """Return how often each item is drawn in each resample, [resamples, count]."""
    drawn = generator.integers(0, count, (resamples, count))
    drawn += np.arange(resamples)[:, np.newaxis] * count
    counted = np.bincount(drawn.ravel(), minlength=resamples * count)
    return counted.reshape(resamples, count).astype(np.float64)


def _interval(value: float, draws: Floats) -> tuple[float, float] | None:
    kept = draws[np.isfinite(draws)]
    if not len(kept) or kept.min() == kept.max():
        return None  # a handful of texts without a mistake says nothing of how rare they are
    bias = kept.mean() - value
    low, high = np.quantile(kept, (_TAIL, 1 - _TAIL)) - bias
    return max(0.0, min(float(low), value)), min(1.0, max(float(high), value))
