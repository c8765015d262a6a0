"""Buckets: the few lengths that batches are padded to, so that engines meet each shape early."""

from collections.abc import Sequence


def pad_to_bucket(length: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds `length` tokens; `length` itself if none does."""
    return next((bucket for bucket in buckets if bucket >= length), length)


def round_up(length: int) -> int:
    """Return one of the few lengths that single batches are padded to: about 2% more on average.

    Multiples of 4 up to 128 tokens, of 8 up to 512, of 16 beyond: 112 shapes of one text instead of
    1,024. An engine that prepares itself for each shape is ready for a new text far more often.
    """
    step = 4 if length <= 128 else 8 if length <= 512 else 16
    return -(-length // step) * step


def few_lengths(most: int) -> tuple[int, ...]:
    """Return even lengths up to 32 tokens, then eight an octave; the last is `most`: 4% of padding.

    Twice a length is one again, so batches of 1, 2, 4, ... texts that are padded to them have few
    numbers of tokens in all: for those an engine prepares its products.
    """
    lengths, length = [], 2
    while length < most:
        lengths.append(length)
        length += max(2, 2 ** (length.bit_length() - 4))
    return (*lengths, most)


def choose_buckets(
    lengths: Sequence[int], *, max_padding_share: float = 0.04, max_buckets: int = 64
) -> tuple[int, ...]:
    """Return the fewest buckets under which padding is at most that share of all tokens.

    lengths: tokens of texts like those to come. For each number of buckets the best are found, by
    dynamic programming over the different lengths: least[at] is the least number of tokens that
    the texts up to the at-th length take. The last bucket holds the longest text. With
    `max_buckets` the share may be missed: it is the best of so many.
    """
    import numpy as np

    if not lengths:
        return ()
    distinct, counts = np.unique(np.asarray(lengths), return_counts=True)
    texts_up_to = np.concatenate([[0], np.cumsum(counts)])
    allowed = int(np.sum(lengths) / (1 - max_padding_share))
    size = len(distinct)
    # padded[i, j]: the texts of lengths i to j in one bucket; never for i > j.
    padded = (texts_up_to[None, 1:] - texts_up_to[:-1, None]) * distinct[None, :].astype(float)
    padded[np.tril_indices(size, -1)] = np.inf
    least = padded[0]
    came_from: list[np.ndarray] = []
    while least[-1] > allowed and len(came_from) + 1 < min(max_buckets, size):
        before = np.concatenate([[np.inf], least[:-1]])[:, None] + padded
        came_from.append(before.argmin(axis=0))
        least = before.min(axis=0)
    chosen, at = [int(distinct[-1])], size - 1
    for starts in reversed(came_from):
        at = int(starts[at]) - 1
        chosen.append(int(distinct[at]))
    return tuple(reversed(chosen))
