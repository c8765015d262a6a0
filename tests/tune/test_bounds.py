import math

import numpy as np
import pytest

from ivme.tune.bounds import drop_bound, mean_bound, share_bound, texts_needed

TRIALS = 2000
# The standard error of a coverage of 95% over so many trials, twice.
SLACK = 2 * math.sqrt(0.95 * 0.05 / TRIALS)


def test_a_share_is_bounded_as_clopper_and_pearson_do():
    assert share_bound(0, 598) == pytest.approx(1 - 0.05 ** (1 / 598))
    assert share_bound(0, 598) <= 0.005 < share_bound(0, 597)
    assert share_bound(10, 10) == 1.0


@pytest.mark.parametrize(("texts", "share"), [(100, 0.01), (300, 0.05), (1000, 0.002)])
def test_the_bound_of_a_share_holds_at_95_percent(texts, share):
    counts = np.random.default_rng(0).binomial(texts, share, TRIALS)
    covered = np.mean([share_bound(int(count), texts) >= share for count in counts])
    assert covered >= 0.95 - SLACK


@pytest.mark.parametrize(
    ("texts", "lost", "won"),
    [(872, 0.005, 0.003), (872, 0.02, 0.016), (200, 0.04, 0.01), (2000, 0.01, 0.006)],
)
def test_the_bound_of_a_drop_holds_at_95_percent(texts, lost, won):
    draws = np.random.default_rng(1).multinomial(texts, [lost, won, 1 - lost - won], TRIALS)
    covered = np.mean([drop_bound(a, b, texts) >= lost - won for a, b, _ in draws.tolist()])
    assert 0.95 - SLACK <= covered <= 0.99  # holds, and is not needlessly wide


def test_a_drop_has_a_width_even_where_nothing_changed():
    assert drop_bound(0, 0, 872) == pytest.approx(2.706 / (872 + 2.706), rel=1e-3)
    assert drop_bound(3, 3, 872) > drop_bound(1, 1, 872) > drop_bound(0, 0, 872)
    assert drop_bound(0, 50, 872) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("texts", [100, 300])
def test_the_bound_of_a_mean_holds_for_skewed_losses(texts):
    source = np.random.default_rng(2)
    covered = np.mean(
        [mean_bound(source.exponential(0.003, texts).tolist()) >= 0.003 for _ in range(TRIALS // 2)]
    )
    assert covered >= 0.95 - 2 * SLACK  # approximate, for losses as skewed as these


def test_the_mean_of_one_loss_bounds_nothing():
    assert mean_bound([0.1]) == math.inf
    assert mean_bound([0.1, 0.1, 0.1]) == 0.1


def test_how_many_texts_would_be_needed():
    assert texts_needed(lambda count: share_bound(0, int(count)), 0.005, 10) == 598
    assert texts_needed(lambda count: 0.1, 0.005, 10) is None
    assert texts_needed(lambda count: 0.001, 0.005, 10) == 10
