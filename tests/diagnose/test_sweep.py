"""Sweeps over steps that take no time: their processes tell a clock how long they would."""

import pytest

from ivme.diagnose import advice
from ivme.diagnose.axes import Axis
from ivme.diagnose.configuration import DiagnoseConfig
from ivme.diagnose.diagnosis import _Budget, _Findings, _sweep
from ivme.diagnose.settings import StepSettings

TURNABLE = ("batch_size", "sequence_length", "dtype", "workers", "threads", "accumulation")


@pytest.fixture
def run(make_sweep):
    """Return a function that sweeps over such steps, and gives trials, notes and seconds."""

    def sweep_over(step_s, budget_s, **options):
        tried, clock = make_sweep(step_s, **options)
        tried.start(StepSettings(threads=2))
        found = _Findings(outline={"turnable": TURNABLE, "facts": {}})
        config = DiagnoseConfig(target="model", budget_s=budget_s)
        _sweep(config, tried, found, _Budget(clock, budget_s), cores=2)
        trials = {one.label: one for one in tried.trials}
        assert len(trials) == len(tried.trials)  # labels are unique
        return trials, found.notes, clock.now_s

    return sweep_over


def test_slow_steps_get_a_verdict_on_what_most_often_helps(run):
    trials, notes, took_s = run(2.5, 100.0)
    assert trials["bfloat16"].comparison.verdict == "faster"
    assert trials["batch 8"].is_left_out
    assert trials["batch 32"].failure.startswith("left out: about")
    assert took_s < 120
    confirmed = any(label.startswith(advice.CONFIRMED_PREFIX) for label in trials)
    assert confirmed != any("was not measured again" in note for note in notes)


def test_what_takes_longer_than_the_budget_is_left_out_and_nothing_is_claimed(run):
    trials, notes, took_s = run(20.0, 60.0)
    assert {one.is_left_out for label, one in trials.items() if one.axis} == {True}
    assert took_s == 3 * 20.0 - 20.0  # one warm-up step: they are slow
    assert notes == []


@pytest.mark.parametrize("step_s", [0.02, 0.1, 0.4, 1.0])
def test_the_budget_is_kept_and_the_advice_confirmed(run, step_s):
    trials, notes, took_s = run(step_s, 130.0)
    assert took_s < 1.15 * 130
    assert notes == []
    assert trials[f"{advice.CONFIRMED_PREFIX}bfloat16"].comparison is not None


def test_short_steps_leave_nothing_out(run):
    trials, _, _ = run(0.1, 130.0)
    assert [one.label for one in trials.values() if one.is_left_out] == []
    assert {"batch 4", "batch 32", "4 workers"} <= set(trials)


def test_of_sizes_that_do_not_fit_the_larger_ones_are_not_tried(run):
    trials, _, _ = run(0.1, 130.0, largest=6)
    assert trials["batch 8"].failure == "out of memory: no more"
    assert trials["batch 32"].failure == (
        "left out: batch 8 does not fit into memory, and this is larger"
    )
    assert trials["batch 4"].comparison is not None


def test_a_size_that_fits_alone_is_told_from_one_that_does_not_fit(run):
    trials, _, _ = run(0.1, 130.0, largest=9)
    assert trials["batch 8"].failure == (
        "left out: it fits into memory alone, but not beside the present set-up, so it cannot be "
        "compared"
    )
    assert trials["batch 16"].failure == (
        "left out: batch 8 does not fit into memory beside the present set-up, and this is larger"
    )
    assert trials["batch 4"].comparison is not None
    assert trials["bfloat16"].comparison is not None
    assert "batch 8" in [one["label"] for one in advice.list_left_out(list(trials.values()))]


COMPILED = Axis(name="compile", variants=(StepSettings(threads=2, compile=True),))


@pytest.mark.parametrize(("compile_s", "compiling_s"), [(100.0, 200.0), (50.0, 10.0)])
def test_a_step_that_compiles_has_the_longer_of_both_limits(make_sweep, compile_s, compiling_s):
    tried, _ = make_sweep(0.1, compile_s=compile_s, compiling_s=compiling_s)
    tried.start(StepSettings(threads=2))
    tried.run_axes([COMPILED], 100.0)
    assert tried.trials[-1].comparison is not None


@pytest.mark.parametrize(
    ("compiling_s", "message"),
    [(200.0, "within 200 s; raise --budget"), (10.0, "within 60 s; raise --step-limit")],
)
def test_a_step_that_compiles_too_long_names_the_option_that_ended_it(
    make_sweep, compiling_s, message
):
    tried, _ = make_sweep(0.1, compile_s=300.0, compiling_s=compiling_s)
    tried.start(StepSettings(threads=2))
    tried.run_axes([COMPILED], 100.0)
    assert tried.trials[-1].failure == f"no step ended {message}"


def test_what_was_left_out_is_not_said_to_be_of_no_help(run):
    trials, _, _ = run(2.5, 100.0)
    rows = list(trials.values())
    left_out = {one["label"] for one in advice.list_left_out(rows)}
    assert "batch 32" in left_out
    assert not left_out & {one["label"] for one in advice.list_no_help(rows[0], rows)}
