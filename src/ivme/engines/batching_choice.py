"""Choosing how texts are batched by running some of them in each way."""

from collections.abc import Sequence

from ivme.engines.batching import Batching, make_batches, padding_statistics, predict_all
from ivme.engines.cost_fitting import measure_cost
from ivme.engines.protocol import Session
from ivme.measure.clock import Clock, SystemClock

TOKEN_BUDGETS = (128, 256, 512, 1024)  # padded tokens a batch; more outgrows a core's cache
MOST_PADDING = 0.04  # of these texts' tokens: on a busy machine calls seem dearer than they are
WORTHWHILE = 0.99  # of the time without batches, at most


def choose_batching(
    session: Session,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    streams: int = 1,
    rounds: int = 3,
    word: str = "the",
    clock: Clock | None = None,
) -> Batching:
    """Return the fastest batching of these texts here: single texts, or packed ones.

    The formula of BatchCost does not know how large a batch may get before it leaves the caches,
    so packing within each of TOKEN_BUDGETS is tried, if it pads no more than MOST_PADDING. They
    take turns, and the fastest of their rounds counts. Single texts stay
    unless a way beats them by more than 1 - WORTHWHILE.
    """
    clock = clock or SystemClock()
    cost = measure_cost(session, word=word, clock=clock)
    single = Batching(streams=streams)
    ways = [
        Batching(
            batch_size=batch_size,
            order="packed",
            max_batch_tokens=budget,
            cost=cost,
            streams=streams,
        )
        for budget in TOKEN_BUDGETS
    ]
    lengths = session.count_tokens(texts)
    ways = [way for way in ways if _padding_share(lengths, way, session) <= MOST_PADDING]
    seconds: dict[Batching, list[float]] = {way: [] for way in (single, *ways)}
    for turn in range(rounds + 1):
        for way, taken in seconds.items():
            start = clock.now()
            predict_all(session, texts, way)
            if turn:  # the first is warm-up
                taken.append(clock.now() - start)
    fastest = min(seconds, key=lambda way: min(seconds[way]))
    return fastest if min(seconds[fastest]) < WORTHWHILE * min(seconds[single]) else single


def _padding_share(lengths: Sequence[int], batching: Batching, session: Session) -> float:
    return padding_statistics(lengths, make_batches(lengths, batching), session).padding_share
