import pytest

from ivme.diagnose.examination import FEWEST_LEAK_STEPS, LEAK_RUNS, plan_examination


def steps_of(plan):
    """Return how many steps a plan takes, watched ones counted twice."""
    watched = plan.operator_steps and 3 * (plan.operator_steps + plan.has_warm_up)
    leaks = plan.leak_steps and plan.leak_steps + LEAK_RUNS
    return 2 * plan.phase_steps + plan.has_warm_up + 2 + watched + leaks


def test_short_steps_are_looked_at_whole_however_small_the_budget():
    plan = plan_examination(0.01, 1.0)
    assert (plan.phase_steps, plan.operator_steps, plan.leak_steps) == (20, 10, 9)
    assert plan.has_warm_up


@pytest.mark.parametrize("step_s", [0.5, 1.0, 2.5, 4.0])
def test_slow_steps_leave_most_of_the_budget_to_what_is_tried(step_s):
    plan = plan_examination(step_s, 45.0)
    assert steps_of(plan) * step_s <= 50.0
    assert plan.phase_steps


def test_a_model_of_usual_size_is_still_looked_at_whole():
    plan = plan_examination(2.5, 45.0)
    assert plan.operator_steps
    assert plan.leak_steps == FEWEST_LEAK_STEPS


def test_where_there_is_no_room_phases_alone_are_taken():
    plan = plan_examination(20.0, 45.0)
    assert (plan.phase_steps, plan.operator_steps, plan.leak_steps) == (1, 0, 0)
