"""Measuring what a session's batches cost, so that texts can be packed to cost least."""

import itertools
from collections.abc import Mapping, Sequence

from ivme.engines.batch_costs import BatchCost
from ivme.engines.protocol import Session
from ivme.engines.warming import text_of_tokens
from ivme.measure.clock import Clock, SystemClock

LEAST_TOKEN_SHARE = 1e-6  # of a call


def measure_cost(
    session: Session,
    *,
    lengths: Sequence[int] = (16, 64, 128, 256),
    batch_sizes: Sequence[int] = (1, 4),
    rounds: int = 5,
    word: str = "the",
    clock: Clock | None = None,
) -> BatchCost:
    """Return the cost of batches as this session runs them here, from a small grid of them.

    lengths: tokens; those beyond what the session takes are cut and counted as what is left.
    word: what texts are made of; for models that fill masks, their mask. The grid is run in
    turns, and the fastest of its rounds counts: others on the machine only add.
    """
    clock = clock or SystemClock()
    batches = {}
    for length in lengths:
        text = text_of_tokens(session, length, word)
        tokens = session.count_tokens([text])[0]
        batches.update({(size, tokens): [text] * size for size in batch_sizes})
    seconds: dict[tuple[int, int], list[float]] = {point: [] for point in batches}
    for turn, (point, texts) in itertools.product(range(rounds + 1), batches.items()):
        start = clock.now()
        session.predict(texts)
        if turn:  # the first is warm-up
            seconds[point].append(clock.now() - start)
    return fit_cost({point: min(taken) for point, taken in seconds.items()})


def fit_cost(seconds: Mapping[tuple[int, int], float]) -> BatchCost:
    """Return the cost that fits measured seconds of (texts, tokens) best, none of it negative.

    Relative errors are made small, so that short batches count as much as long ones. Where calls
    took the same whatever they held, a token costs next to nothing, as BatchCost needs something.
    """
    import numpy as np
    from scipy.optimize import nnls

    points = np.array(list(seconds), dtype=float)
    taken = np.array(list(seconds.values()))
    texts, tokens = points.T
    terms = np.stack([np.ones_like(texts), texts * tokens, texts * tokens**2], axis=1)
    (call_s, token_s, pair_s), _ = nnls(terms / taken[:, None], np.ones_like(taken))
    if not token_s + pair_s > 0:
        token_s = LEAST_TOKEN_SHARE * call_s
    return BatchCost(call_s=float(call_s), token_s=float(token_s), pair_s=float(pair_s))
