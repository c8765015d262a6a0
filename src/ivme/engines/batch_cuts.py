"""Where a set of texts is cut into batches: a strategy gets lengths, returns positions.

To add one, write a function and name it in STRATEGIES.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ivme.engines.batch_costs import USUAL_COST

if TYPE_CHECKING:
    from ivme.engines.batching import Batching

Cut = list[tuple[int, ...]]
Strategy = Callable[[Sequence[int], "Batching"], Cut]


def in_given_order(lengths: Sequence[int], batching: "Batching") -> Cut:
    """Return the positions cut into batches as they come."""
    batches: Cut = []
    start, longest = 0, 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        if at - start + 1 > batching.texts_at(longest):
            batches.append(tuple(range(start, at)))
            start, longest = at, length
    if lengths:
        batches.append(tuple(range(start, len(lengths))))
    return batches


def by_length(lengths: Sequence[int], batching: "Batching") -> Cut:
    """Return the positions sorted by length and cut; the longest first, so that it fails early.

    Batches are as full as the limits let them be. Without a token limit, the batch that is not
    full goes where it saves most padding: of all ways to fill so many batches, none pads less.
    """
    positions = longest_first(lengths)
    if batching.max_batch_tokens is None:
        return _cut_with_remainder(positions, lengths, batching.batch_size)
    batches: Cut = []
    start = 0
    while start < len(positions):
        end = start + batching.texts_at(lengths[positions[start]])
        batches.append(tuple(positions[start:end]))
        start = end
    return batches


def by_cost(lengths: Sequence[int], batching: "Batching") -> Cut:
    """Return the positions sorted by length and cut so that all batches together cost least.

    Exact, by dynamic programming over the sorted texts: best[end] is the least cost of the first
    `end` texts, and the last batch of them is one of the few that the limits allow.
    """
    cost = batching.cost or USUAL_COST
    positions = longest_first(lengths)
    best, starts = [0.0], [0]
    # A batch is padded to its first text, so that says where it must end; shorter ones reach on.
    reach = [at + batching.texts_at(lengths[position]) for at, position in enumerate(positions)]
    first = 0
    for end in range(1, len(positions) + 1):
        while reach[first] < end:
            first += 1
        least, start = min(
            (best[at] + cost.seconds(end - at, lengths[positions[at]]), at)
            for at in _starts(first, end, doubling=batching.doubling)
        )
        best.append(least)
        starts.append(start)
    batches: Cut = []
    end = len(positions)
    while end:
        batches.append(tuple(positions[starts[end] : end]))
        end = starts[end]
    return batches[::-1]


def _starts(first: int, end: int, *, doubling: bool) -> Iterable[int]:
    """Return where a batch may start that ends at `end`, `first` being the earliest."""
    if not doubling:
        return range(first, end)
    return (end - 2**power for power in range((end - first).bit_length()))


STRATEGIES: Mapping[str, Strategy] = {
    "given": in_given_order,
    "sorted": by_length,
    "packed": by_cost,
}


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Return the positions by falling length; equal ones in the order given."""
    return sorted(range(len(lengths)), key=lambda at: -lengths[at])


def _cut_with_remainder(positions: Sequence[int], lengths: Sequence[int], size: int) -> Cut:
    remainder = len(positions) % size
    if not remainder:
        return _cut(positions, size)
    full = len(positions) // size
    before = [0, *accumulate(size * lengths[positions[at * size]] for at in range(full))]
    after = [0, *accumulate(size * lengths[positions[remainder + at * size]] for at in range(full))]

    def padded_tokens(at: int) -> int:
        return before[at] + remainder * lengths[positions[at * size]] + after[full] - after[at]

    start = min(range(full + 1), key=padded_tokens) * size
    end = start + remainder
    rest = _cut(positions[end:], size)
    return [*_cut(positions[:start], size), tuple(positions[start:end]), *rest]


def _cut(positions: Sequence[int], size: int) -> Cut:
    return [tuple(positions[at : at + size]) for at in range(0, len(positions), size)]
