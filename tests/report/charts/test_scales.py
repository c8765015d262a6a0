import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivme.report.charts.scales import (
    linear_ticks,
    logarithmic_ticks,
    near_scale,
    ratio_scale,
    spread_scale,
    tick_label,
)

POSITIVE = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=9)


@given(POSITIVE)
def test_every_amount_lands_inside_the_drawing(values):
    scale = spread_scale(values, 100.0, 0.0)
    assert all(0 <= scale(value) <= 100 for value in values)


@given(POSITIVE)
def test_larger_amounts_are_drawn_higher(values):
    scale = spread_scale(values, 100.0, 0.0)
    positions = [scale(value) for value in sorted(values)]
    assert positions == sorted(positions, reverse=True)


@given(POSITIVE)
def test_a_ratio_scale_holds_one(values):
    scale = ratio_scale(values, 0.0, 100.0)
    assert scale.low < 1 < scale.high


def test_amounts_of_one_size_are_drawn_from_zero():
    assert spread_scale([10.0, 12.0], 0.0, 1.0).low == 0
    assert spread_scale([1.0, 1000.0], 0.0, 1.0).is_logarithmic


def test_a_reference_far_off_does_not_flatten_the_values():
    assert near_scale([0.064, 0.068], 1.0, 0.0, 1.0).high < 0.1
    assert near_scale([0.9, 0.95], 1.0, 0.0, 1.0).high > 1


def test_linear_ticks_are_round():
    assert linear_ticks(0.0, 43.0, 5) == [0, 10, 20, 30, 40]
    assert linear_ticks(1.0, 1.0, 5) == [1.0]


def test_logarithmic_ticks_thin_out_over_many_decades():
    assert logarithmic_ticks(1.0, 50.0, 5) == pytest.approx([1, 2, 5, 10, 20, 50])
    assert logarithmic_ticks(1e-6, 1e6, 11) == pytest.approx([10.0**p for p in range(-6, 7)])


def test_tick_labels_tell_neighbors_apart():
    ticks = [0.95, 1.0, 1.05]
    assert [tick_label(tick, ticks) for tick in ticks] == ["0.95", "1.00", "1.05"]
    assert tick_label(0, [0.0, 5.0]) == "0"
