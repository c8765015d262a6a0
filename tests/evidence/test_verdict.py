import random

import pytest

from ivme.evidence.figure import Figure
from ivme.evidence.ledger import Claimed
from ivme.evidence.verdict import FAILS, HOLDS, PARTLY, judge

TWICE = Claimed(kind="ratio", low=2, high=3)


def verdict(claimed, value, low=None, high=None):
    low = value if low is None else low
    return judge(claimed, Figure(value=value, low=low, high=value if high is None else high))


@pytest.mark.parametrize(
    ("value", "low", "word"),
    [
        (2.5, 2.4, HOLDS),
        (40.0, 30.0, HOLDS),  # more than claimed
        (1.92, 1.8, HOLDS),  # within the margin: 1 + 1 / 1.1 = 1.91
        (1.9, 1.8, PARTLY),
        (1.2, 1.1, PARTLY),
        (1.2, 1.03, FAILS),  # the interval leaves no effect in
        (2.5, 0.9, FAILS),
        (0.7, 0.6, FAILS),
    ],
)
def test_a_speedup_holds_partly_or_not(value, low, word):
    assert verdict(TWICE, value, low, value + 0.1).word == word


@pytest.mark.parametrize(
    ("value", "word"), [(46.0, HOLDS), (44.0, PARTLY), (6.0, PARTLY), (4.0, FAILS), (-3.0, FAILS)]
)
def test_a_saving_of_half_needs_nearly_half(value, word):
    assert verdict(Claimed(kind="percent", low=50, high=50), value).word == word


@pytest.mark.parametrize(("value", "word"), [(3.0, HOLDS), (0.7, PARTLY), (0.1, FAILS)])
def test_seconds_saved_count_from_a_twentieth_of_the_claim(value, word):
    assert verdict(Claimed(kind="seconds", low=3, high=4), value).word == word


@pytest.mark.parametrize(("value", "word"), [(0.1, FAILS), (0.03, HOLDS), (0.015, FAILS)])
def test_a_time_of_another_machine_is_given_a_factor_of_two(value, word):
    claimed = Claimed(kind="seconds", low=0.045, high=0.045, direction="about", margin=1.0)
    assert verdict(claimed, value).word == word


@pytest.mark.parametrize(("value", "word"), [(-4.0, HOLDS), (5.4, HOLDS), (5.6, FAILS)])
def test_at_most_asks_nothing_of_smaller_figures(value, word):
    claimed = Claimed(kind="percent", low=0, high=5, direction="at most")
    assert verdict(claimed, value).word == word


def test_a_figure_whose_interval_contains_a_limit_is_close():
    assert not verdict(TWICE, 2.5, 2.4, 2.6).is_close
    assert verdict(TWICE, 1.95, 1.85, 2.05).is_close
    assert verdict(TWICE, 1.1, 1.04, 1.2).is_close


def test_what_is_counted_is_never_close():
    claimed = Claimed(kind="count", low=100, high=100, direction="about", margin=0.0)
    figure = Figure(value=100, low=100, high=100, is_counted=True)
    assert judge(claimed, figure).word == HOLDS
    assert not judge(claimed, figure).is_close


def test_one_sample_is_not_taken_for_counted():
    at_the_limit = Claimed(kind="ratio", low=1, high=2, direction="at most", margin=0.0)
    assert verdict(at_the_limit, 2.0).is_close


def test_what_is_not_to_be_trusted_is_close_wherever_it_lies():
    figure = Figure(value=40.0, low=39.0, high=41.0, note="too few blocks")
    assert judge(TWICE, figure).word == HOLDS
    assert judge(TWICE, figure).is_close


def test_noise_turns_no_verdict_that_is_not_close():
    draw = random.Random(0)
    for truth in (1.0, 1.3, 2.5):
        words = set()
        for _ in range(300):
            value = truth * draw.gauss(1, 0.015)
            words.add(verdict(TWICE, value, value * 0.97, value * 1.03).word)
        assert len(words) == 1
