from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.engines.batch_costs import USUAL_COST, BatchCost, cost_from
from ivme.engines.batch_cuts import by_cost, by_length, longest_first
from ivme.engines.batching import Batching, make_batches, padding_statistics
from ivme.errors import UsageError

COSTS = st.builds(
    BatchCost,
    call_s=st.floats(0, 100),
    token_s=st.floats(0.01, 1),
    pair_s=st.floats(0, 0.01),
)


def total(lengths: Sequence[int], batches: Sequence[Sequence[int]], cost: BatchCost) -> float:
    return sum(
        cost.seconds(len(batch), max(lengths[at] for at in batch)) for batch in batches if batch
    )


def cuts(items: Sequence[int], most: int) -> Iterator[list[Sequence[int]]]:
    """Every way to cut the items into runs of at most `most`."""
    if not items:
        yield []
    for size in range(1, min(most, len(items)) + 1):
        for rest in cuts(items[size:], most):
            yield [items[:size], *rest]


@settings(deadline=None)  # a loaded machine is no failure
@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=8), size=st.integers(1, 4), cost=COSTS
)
def test_no_cut_of_the_sorted_texts_costs_less(
    lengths: list[int], size: int, cost: BatchCost
) -> None:
    batching = Batching(batch_size=size, order="packed", cost=cost)
    found = total(lengths, by_cost(lengths, batching), cost)
    least = min(total(lengths, cut, cost) for cut in cuts(longest_first(lengths), size))

    assert found == pytest.approx(least)


@settings(deadline=None)  # a loaded machine is no failure
@given(lengths=st.lists(st.integers(1, 512), max_size=60), size=st.integers(1, 9), cost=COSTS)
def test_packed_batches_never_cost_more_than_sorted_ones(
    lengths: list[int], size: int, cost: BatchCost
) -> None:
    packed = by_cost(lengths, Batching(batch_size=size, order="packed", cost=cost))
    filled = by_length(lengths, Batching(batch_size=size, order="sorted"))

    assert total(lengths, packed, cost) <= total(lengths, filled, cost) * (1 + 1e-9)


@settings(deadline=None)  # a loaded machine is no failure
@given(lengths=st.lists(st.integers(4, 512), min_size=1, max_size=200), size=st.integers(1, 32))
def test_packing_pads_no_more_than_it_saves_in_calls(lengths: list[int], size: int) -> None:
    batches = make_batches(lengths, Batching(batch_size=size, order="packed"))
    statistics = padding_statistics(lengths, batches)
    saved_calls = len(lengths) - len(batches)
    padding = statistics.padded_tokens - statistics.real_tokens

    assert padding * USUAL_COST.token_s <= saved_calls * USUAL_COST.call_s + 1e-9


@given(lengths=st.lists(st.integers(1, 512), max_size=60))
def test_doubling_cuts_batches_of_powers_of_two(lengths: list[int]) -> None:
    batching = Batching(batch_size=16, max_batch_tokens=512, order="packed", doubling=True)
    batches = by_cost(lengths, batching)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert {len(batch) for batch in batches} <= {1, 2, 4, 8, 16}
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= 512


def test_equal_lengths_fill_batches_in_the_order_given() -> None:
    batches = by_cost([7] * 5, Batching(batch_size=2, order="packed"))

    assert sorted(map(len, batches)) == [1, 2, 2]
    assert [at for batch in batches for at in batch] == [0, 1, 2, 3, 4]


def test_free_calls_mean_batches_without_padding() -> None:
    cost = BatchCost(call_s=0, token_s=1)
    batches = by_cost([3, 9, 3, 8], Batching(batch_size=4, order="packed", cost=cost))

    assert [sorted(batch) for batch in batches if len(batch) > 1] in ([], [[0, 2]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"call_s": -1, "token_s": 1}, "call_s=-1; expected seconds, 0 or more"),
        ({"call_s": 1, "token_s": float("nan")}, "token_s=nan; expected seconds"),
        ({"call_s": 1, "token_s": "x"}, "token_s='x'; expected seconds"),
        ({"call_s": 1, "token_s": 0}, "expected that a token costs something"),
        ({"call": 1}, "expected call_s, token_s and pair_s"),
    ],
)
def test_costs_that_cannot_be_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cost_from(arguments)
