import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from ivme.ensemble.metrics import (
    BINS,
    Scored,
    figures_of,
    reliability,
    resamples_for,
    roc_curve,
    share,
)


def scored(count: int = 400, *, seed: int = 0, digits: int = 2, distance: float = 1.0) -> Scored:
    """Return made-up scores, rounded so that many are equal."""
    draw = np.random.default_rng(seed)
    is_positive = draw.random(count) < 0.4
    odds = draw.normal(size=count) + distance * is_positive
    scores = np.round(1 / (1 + np.exp(-odds)), digits)
    return Scored(
        scores=scores,
        is_positive=is_positive,
        is_right=(scores > 0.5) == is_positive,
        found={"0.01": scores > 0.9},
    )


def test_figures_are_those_of_scikit_learn():
    one = scored()
    figures = figures_of(one)
    assert figures["auroc"].value == pytest.approx(roc_auc_score(one.is_positive, one.scores))
    assert figures["brier"].value == pytest.approx(brier_score_loss(one.is_positive, one.scores))
    assert figures["accuracy"].value == pytest.approx(one.is_right.mean())
    is_found = one.scores > 0.9
    assert figures["tpr_at_0.01"].value == pytest.approx(is_found[one.is_positive].mean())
    assert figures["fpr_at_0.01"].value == pytest.approx(is_found[~one.is_positive].mean())


def test_calibration_error_is_the_mean_distance_of_bins():
    one = scored()
    expected = 0.0
    for number in range(BINS):
        inside = (one.scores >= number / BINS) & (one.scores < (number + 1) / BINS)
        inside |= (one.scores == 1.0) & (number == BINS - 1)
        if inside.any():
            gap = abs(one.scores[inside].mean() - one.is_positive[inside].mean())
            expected += inside.mean() * gap
    assert figures_of(one)["calibration_error"].value == pytest.approx(expected, abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = roc_auc_score(*(lambda one: (one.is_positive, one.scores))(scored(200_000, seed=99)))
    held = 0
    for seed in range(60):
        low, high = figures_of(scored(300, seed=seed), resamples=200)["auroc"].interval
        held += low <= truth <= high
    assert held >= 52  # of 57 expected; chance alone goes below once in 100 times


def test_intervals_of_shares_have_a_width_where_nothing_went_wrong():
    perfect = share(np.ones(20, bool))
    assert perfect.value == 1.0
    assert perfect.interval == (pytest.approx(0.8389, abs=1e-4), pytest.approx(1.0))
    assert share(np.zeros(0, bool)).value is None


def test_texts_of_one_label_have_no_auroc_and_no_false_positives():
    one = scored()
    figures = figures_of(one.at(one.is_positive))
    assert figures["auroc"].value is None
    assert figures["fpr_at_0.01"].value is None
    assert figures["accuracy"].value is not None


def test_the_same_texts_have_the_same_intervals():
    assert figures_of(scored()) == figures_of(scored())


def test_a_curve_goes_from_corner_to_corner_and_keeps_its_area():
    one = scored(digits=6)
    points = roc_curve(one, most_points=10_000)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    x, y = np.array(points).T
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    area = float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())
    assert area == pytest.approx(roc_auc_score(one.is_positive, one.scores))
    assert len(roc_curve(one, most_points=20)) <= 20


def test_bins_say_what_came_true_of_each_score():
    bins = reliability(scored())
    assert sum(one["texts"] for one in bins) == 400
    assert all(one["low"] <= one["share"] <= one["high"] for one in bins)


def test_many_texts_are_drawn_less_often():
    assert resamples_for(100) == 1000
    assert resamples_for(10_000) == 400
    assert resamples_for(10_000_000) == 200
