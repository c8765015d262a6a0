import math

import pytest

from mm_rec.errors import TrainingError
from mm_rec.training.gradients import MOST_SKIPPED_IN_A_ROW, STEPS_BEFORE_GUARD, GradientGuard


def test_usual_norms_pass_and_absurd_ones_do_not():
    guard = GradientGuard(most_times_usual=10)
    for _ in range(STEPS_BEFORE_GUARD):
        assert guard.reason_to_skip(1.0, 2.0) is None
    assert guard.reason_to_skip(1.0, 21.0) == ("the norm of the gradients is 21, and usually 2")
    assert guard.reason_to_skip(1.0, 19.0) is None
    assert (guard.skipped, guard.skipped_in_a_row) == (1, 0)


def test_the_first_norms_are_not_held_against_each_other():
    guard = GradientGuard(most_times_usual=10)
    assert [guard.reason_to_skip(1.0, norm) for norm in (0.1, 50.0)] == [None, None]


def test_a_guard_of_zero_lets_any_finite_norm_pass():
    guard = GradientGuard(most_times_usual=0)
    for _ in range(STEPS_BEFORE_GUARD):
        guard.reason_to_skip(1.0, 1.0)
    assert guard.reason_to_skip(1.0, 1e9) is None
    assert guard.reason_to_skip(1.0, math.inf) == "the norm of the gradients is inf"


def test_too_many_skipped_steps_in_a_row_are_an_error():
    guard = GradientGuard(most_times_usual=0)
    for _ in range(MOST_SKIPPED_IN_A_ROW - 1):
        assert guard.reason_to_skip(math.nan, 1.0) == "the loss is nan"
    with pytest.raises(TrainingError, match="the loss is nan in 20 steps in a row; lower"):
        guard.reason_to_skip(math.nan, 1.0)


def test_a_guard_goes_on_where_another_left_off():
    first, second = GradientGuard(10), GradientGuard(10)
    for norm in range(1, 40):
        first.reason_to_skip(1.0, float(norm))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert second.reason_to_skip(1.0, 1e4) == first.reason_to_skip(1.0, 1e4) is not None
