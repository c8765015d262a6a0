import math

import pytest

from ivme.errors import UsageError
from ivme.measure.verdict import CONTROL, ComparePlan, blocks_needed, judge


def blocks_of(ratio: float, *, count: int = 20, control: float | None = 1.0) -> list[dict]:
    """Return blocks whose ratios scatter by half a percent around the given ones."""
    blocks = []
    for index in range(count):
        wobble = 1 + 0.005 * math.sin(index)
        seconds = {"old": [0.1, 0.1, 0.1], "new": [0.1 * ratio * wobble] * 3}
        if control is not None:
            seconds[CONTROL] = [0.1 * control * wobble] * 3
        blocks.append({"seconds": seconds})
    return blocks


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.9, "faster"), (1.1, "slower"), (1.0, "same"), (1.01, "same")]
)
def test_the_verdict_follows_the_ratio(ratio, verdict):
    found = judge(blocks_of(ratio), "old", "new")
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(ratio, rel=0.005)
    assert found.interval[0] <= found.ratio <= found.interval[1]
    assert found.control_is_clean is True
    assert found.notes == ()


def test_a_wide_interval_around_one_is_undecided():
    blocks = [
        {"seconds": {"old": [0.1], "new": [0.1 * ratio]}} for ratio in (0.8, 1.25, 0.9, 1.1) * 4
    ]
    assert judge(blocks, "old", "new").verdict == "undecided"


def test_a_control_that_differs_voids_the_verdict():
    found = judge(blocks_of(0.5, control=1.08), "old", "new")
    assert found.verdict == "undecided"
    assert found.control_is_clean is False
    assert found.control_interval[0] > 1.05
    assert "old against itself, shows a difference (ratio 1.0" in found.notes[0]


def test_blocks_without_a_control_are_judged_and_say_so():
    found = judge(blocks_of(0.5, control=None), "old", "new")
    assert (found.verdict, found.control_interval, found.control_is_clean) == ("faster", None, None)


def test_too_few_blocks_carry_no_verdict():
    assert blocks_needed(1) == 6
    assert blocks_needed(3) == 7
    found = judge(blocks_of(0.5, count=5), "old", "new")
    assert found.verdict == "undecided"
    assert found.notes == ("too few blocks for a verdict, 5 of 6 needed: raise the budget",)


def test_more_looks_make_the_interval_wider():
    once, often = (judge(blocks_of(1.1), "old", "new", looks=looks) for looks in (1, 4))
    assert often.interval[0] < once.interval[0] < once.interval[1] < often.interval[1]


def test_raw_seconds_and_outliers_are_kept():
    blocks = blocks_of(1.0)
    blocks[3]["seconds"]["new"] = [0.1, 5.0, 0.1]
    found = judge(blocks, "old", "new")
    assert found.blocks[3]["seconds"]["new"] == [0.1, 5.0, 0.1]
    assert found.outliers["new"]["severe"] == 1
    assert found.verdict == "same"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "no blocks to judge; expected one or more"),
        ([{"seconds": {"old": [1.0]}}], r"a block lacks 'new'; it has \['old'\]"),
        (
            [{"seconds": {"old": [1.0], "new": [1.0, 2.0]}}],
            "1 times of 'old' and 2 of 'new'; expected as many of each",
        ),
        ([{"seconds": {"old": [1.0], "new": [0.0]}}], "all above 0 s: time more calls at once"),
    ],
)
def test_blocks_that_cannot_be_paired_are_refused(blocks, message):
    with pytest.raises(UsageError, match=message):
        judge(blocks, "old", "new")


def test_the_looks_double_up_to_the_last_block():
    assert ComparePlan().looks == (10, 20, 40)
    assert ComparePlan(min_blocks=8, max_blocks=50).looks == (8, 16, 32, 50)
    assert ComparePlan(min_blocks=5, max_blocks=5).looks == (5,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget_s": 0}, "budget_s=0; expected more than 0"),
        ({"max_blocks": 3}, "max_blocks=3 with min_blocks=10; expected as many or more"),
        ({"resamples": 10}, "resamples=10; expected none below 0 and 100 resamples or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        ComparePlan(**settings)
