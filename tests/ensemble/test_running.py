import pytest

from ivme.ensemble.running import place, reason_of
from ivme.errors import IvmeError, UsageError


@pytest.mark.parametrize(
    ("transformers", "threads", "at_a_time", "expected"),
    [
        (2, 2, None, (2, 1)),
        (2, 2, 1, (1, 2)),
        (2, 1, None, (1, 1)),
        (2, 8, None, (2, 4)),
        (2, 8, 5, (2, 4)),
        (3, 4, None, (3, 1)),
        (0, 4, None, (1, 4)),
    ],
)
def test_transformers_share_the_threads_and_never_take_more(
    transformers: int, threads: int, at_a_time: int | None, expected: tuple[int, int]
) -> None:
    placement = place(transformers, threads, at_a_time)
    assert (placement.at_a_time, placement.threads) == expected
    assert placement.at_a_time * placement.threads <= threads


def test_no_threads_and_none_at_a_time_are_refused() -> None:
    with pytest.raises(UsageError, match="threads=0; expected 1 or more"):
        place(2, 0, None)
    with pytest.raises(UsageError, match="at_a_time=0; expected 1 or more"):
        place(2, 2, 0)


def test_a_reason_is_one_line_with_the_kind_of_what_is_not_ours() -> None:
    assert reason_of(IvmeError("worn out\nand more")) == "worn out"
    assert reason_of(ValueError("odd\nvalue")) == "ValueError: odd"
    assert reason_of(KeyError()) == "KeyError: "
