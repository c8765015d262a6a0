import pytest

from ivme.diagnose.advice import (
    CONFIRMED,
    CONFIRMED_PREFIX,
    best_of_axes,
    choose,
    list_advice,
    list_no_help,
    list_suspects,
    savings,
    unconfirmed,
)
from ivme.diagnose.settings import StepSettings, describe
from ivme.diagnose.trials import BASELINE, Trial, per_work
from ivme.measure.records import Comparison
from ivme.measure.verdict import CONTROL, ComparePlan, judge

NOW = StepSettings(threads=2)


def baseline():
    trial = Trial(label=BASELINE, axis="", settings=NOW, tokens=1024, items=2)
    trial.step_s = [0.1] * 8
    return trial


def trial(axis, speedup, spread=0.001, **changes):
    """Return a trial that is so many times as fast, in blocks that differ by `spread`."""
    settings = NOW.changed(**changes)
    one = Trial(label=describe(changes), axis=axis, settings=settings, tokens=1024)
    blocks = [
        {
            "seconds": {
                BASELINE: [1.0],
                one.label: [(1 + spread * (index % 5 - 2)) / speedup],
                CONTROL: [1.0 + 0.0001 * index],
            }
        }
        for index in range(8)
    ]
    one.comparison = judge(blocks, BASELINE, one.label)
    return one


def test_of_batch_sizes_about_as_fast_the_smallest_is_best():
    trials = [
        trial("batch_size", 1.30, batch_size=8),
        trial("batch_size", 1.31, batch_size=32),
        trial("batch_size", 1.10, batch_size=4),
    ]
    assert best_of_axes(trials)["batch_size"].settings.batch_size == 8


def test_settings_that_change_the_task_are_never_chosen():
    trials = [
        trial("sequence_length", 3.0, sequence_length=256),
        trial("dtype", 1.5, dtype="bfloat16"),
    ]
    assert choose(NOW, trials).label == "bfloat16"
    assert choose(NOW, trials[:1]) is None


def test_advice_goes_by_gain_and_promises_what_was_confirmed():
    both = trial(CONFIRMED, 1.8, batch_size=8, dtype="bfloat16")
    trials = [
        baseline(),
        trial("batch_size", 1.2, batch_size=8),
        trial("dtype", 1.5, dtype="bfloat16"),
        trial("together", 1.9, batch_size=8, dtype="bfloat16"),
        both,
    ]
    advice = list_advice(trials[0], trials, lambda settings: f"train {settings.batch_size}")
    assert [one["label"] for one in advice] == ["batch 8 · bfloat16", "bfloat16", "batch 8"]
    assert advice[0]["speedup"] == pytest.approx(1.8, rel=0.01)
    assert advice[0]["tokens_per_s"] == pytest.approx(1.8 * 10240, rel=0.01)
    assert advice[0]["command"] == "train 8"


def test_what_does_not_help_says_why():
    failed = Trial(label="batch 32", axis="batch_size", settings=NOW.changed(batch_size=32))
    failed.failure = "out of memory: no more"
    trials = [baseline(), trial("workers", 1.0, workers=2), failed]
    rows = list_no_help(trials[0], trials)
    assert [(one["label"], one.get("verdict"), one["failure"]) for one in rows] == [
        ("2 workers", "same", None),
        ("batch 32", None, "out of memory: no more"),
    ]


def test_workers_are_cleared_where_data_take_next_to_nothing():
    noisy = trial("workers", 1.0, spread=0.2, workers=2)
    assert noisy.comparison.verdict == "undecided"
    suspects = {
        share: list_suspects(baseline(), [noisy], {"data": share})[0] for share in (0.001, 0.4)
    }
    assert suspects[0.001]["verdict"] == "no"
    assert suspects[0.001]["most_gain"] == pytest.approx(1.001, abs=1e-4)
    assert suspects[0.4]["verdict"] == "undecided"


def test_a_larger_batch_is_compared_for_equal_tokens():
    now, large = baseline(), Trial(label="batch 8", axis="batch_size", settings=NOW, tokens=4096)
    for one in (now, large):
        one.expected_step_s = 1.0
    blocks = tuple(
        {"seconds": {BASELINE: [1.0], "batch 8": [2.0 + 0.001 * index], CONTROL: [1.0]}}
        for index in range(8)
    )
    raw = Comparison(
        baseline=BASELINE, variant="batch 8", ratio=2.0, interval=(2.0, 2.0), verdict="slower",
        equivalence_margin=0.02, blocks=blocks,
    )  # fmt: skip
    judged = per_work(raw, now, large, ComparePlan(min_blocks=8, max_blocks=8))
    assert judged.verdict == "faster"
    assert 1 / judged.ratio == pytest.approx(2.0, rel=0.01)


def test_what_saves_memory_is_told_with_its_price():
    now, saving = baseline(), trial("checkpointing", 0.8, checkpointing=True)
    even = trial("dtype", 1.5, dtype="bfloat16")
    now.memory, saving.memory = {"peak_bytes": 1000}, {"peak_bytes": 600}
    even.memory = {"peak_bytes": 990}
    [row] = savings(now, [now, saving, even])
    assert (row["label"], row["saved_share"]) == ("checkpointing", 0.4)
    assert row["speedup"] == pytest.approx(0.8, rel=0.01)


def test_what_seemed_faster_and_is_not_when_measured_again_is_told():
    seemed = trial("dtype", 1.5, dtype="bfloat16")
    again = trial(CONFIRMED, 1.0, spread=0.2, dtype="bfloat16")
    again.label = CONFIRMED_PREFIX + again.label
    found = unconfirmed([baseline(), seemed, again])
    assert found["label"] == "bfloat16"
    assert found["interval"][0] < 1 < found["interval"][1]
    assert unconfirmed([baseline(), seemed]) is None
    assert unconfirmed([baseline(), seemed, trial(CONFIRMED, 1.5, dtype="bfloat16")]) is None


def test_who_was_not_to_blame_when_measured_again_is_not_convicted():
    seemed = trial("dtype", 1.3, dtype="bfloat16")
    again = trial(CONFIRMED, 1.0, spread=0.2, dtype="bfloat16")
    suspects = {one["axis"]: one["verdict"] for one in list_suspects(baseline(), [seemed], {})}
    assert suspects == {"dtype": "yes"}
    [suspect] = list_suspects(baseline(), [seemed, again], {})
    assert suspect["verdict"] == "undecided"
    again.comparison = None  # no time was left for it
    [suspect] = list_suspects(baseline(), [seemed, again], {})
    assert suspect["verdict"] == "yes"
