"""The batcher: which texts run together, how they are padded, and what padding costs.

A strategy (batch_cuts.py) gets the texts' lengths and returns batches of their positions.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ivme.engines.batch_costs import BatchCost
from ivme.engines.batch_cuts import STRATEGIES
from ivme.engines.buckets import pad_to_bucket
from ivme.engines.protocol import EngineOptions, Prediction, Session, StageSeconds
from ivme.errors import UsageError

PADDINGS = ("dynamic", "bucketed", "fixed")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How texts are put into batches.

    batch_size: texts at most. max_batch_tokens: tokens at most, padding counted; a text longer
    than that runs alone. order: "given", as the caller has them; "sorted", by length, so that
    texts of like length share a batch; "packed", sorted and cut where the batches together cost
    least by `cost`, or by what is usual on processors. padding: "dynamic", to the longest text of
    each batch; "bucketed", to the smallest of `buckets` that holds it (a longer one stays as it
    is); "fixed", to `pad_to` tokens, without it to the most that the model takes. streams: batches
    that run at a time, each in a session and on threads of its own; see ivme.engines.streams.
    doubling: batches hold 1, 2, 4, 8, ... texts, so that they have few shapes; "packed" alone.

    Raises:
        UsageError: a value that is not allowed.
    """

    batch_size: int = 1
    order: str = "given"
    padding: str = "dynamic"
    pad_to: int | None = None
    max_batch_tokens: int | None = None
    buckets: tuple[int, ...] = ()
    cost: BatchCost | None = None
    streams: int = 1
    doubling: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("batch_size", "max_batch_tokens", "pad_to", "streams"):
            value = getattr(self, name)
            if name in ("max_batch_tokens", "pad_to") and value is None:
                continue
            if not _is_whole(value) or value < 1:
                raise UsageError(f"{name}={value!r}; expected 1 or more, a whole number")
        if not all(_is_whole(one) for one in self.buckets):
            raise UsageError(f"buckets={self.buckets}; expected whole numbers")
        if self.order not in STRATEGIES:
            raise UsageError(f"order={self.order!r}; expected one of {', '.join(STRATEGIES)}")
        if self.padding not in PADDINGS:
            raise UsageError(f"padding={self.padding!r}; expected one of {', '.join(PADDINGS)}")
        if self.pad_to is not None and self.padding != "fixed":
            raise UsageError(f"pad_to={self.pad_to} needs padding='fixed', not {self.padding!r}")
        if self.cost is not None and self.order != "packed":
            raise UsageError(f"cost needs order='packed', not {self.order!r}")
        if self.doubling and self.order != "packed":
            raise UsageError(f"doubling needs order='packed', not {self.order!r}")
        if (self.padding == "bucketed") != bool(self.buckets):
            raise UsageError(
                f"buckets={self.buckets} with padding={self.padding!r}; padding='bucketed' and "
                "buckets go together"
            )
        if any(low >= high for low, high in zip((0, *self.buckets), self.buckets, strict=False)):
            raise UsageError(f"buckets={self.buckets}; expected rising lengths of 1 or more")

    def texts_at(self, length: int) -> int:
        """Return the texts that a batch padded to `length` tokens may hold, at least 1."""
        if self.max_batch_tokens is None:
            return self.batch_size
        return max(1, min(self.batch_size, self.max_batch_tokens // max(length, 1)))

    def padded_length(self, longest: int) -> int:
        """Return the tokens that a batch is padded to whose longest text has `longest`."""
        if self.pad_to is not None:
            return self.pad_to
        return pad_to_bucket(longest, self.buckets)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts that run together: their positions in the caller's order, and the padded length."""

    positions: tuple[int, ...]
    padded_length: int  # tokens


@dataclass(frozen=True, kw_only=True)
class PaddingStatistics:
    """What a set of batches computes, and how much of it is padding."""

    real_tokens: int
    padded_tokens: int  # real ones included

    @property
    def padding_share(self) -> float:
        """The part of all computed tokens that is padding, 0 to 1."""
        return 1 - self.real_tokens / self.padded_tokens if self.padded_tokens else 0.0


def make_batches(lengths: Sequence[int], batching: Batching) -> list[Batch]:
    """Return the batches for texts of `lengths` tokens; every text is in exactly one."""
    padded = [batching.padded_length(length) for length in lengths]
    return [
        Batch(positions=positions, padded_length=max(padded[at] for at in positions))
        for positions in STRATEGIES[batching.order](padded, batching)
    ]


def padding_statistics(
    lengths: Sequence[int], batches: Sequence[Batch], session: Session | None = None
) -> PaddingStatistics:
    """Return the real and padded tokens of the batches of texts of `lengths` tokens.

    session: what runs them; it may pad them further, to lengths that it is prepared for.
    """
    padded = padding_of(session)
    return PaddingStatistics(
        real_tokens=sum(lengths),
        padded_tokens=sum(len(one.positions) * padded(one.padded_length) for one in batches),
    )


def padding_of(session: Session | None) -> Callable[[int], int]:
    """Return what gives the tokens that a session pads a batch to, from its longest text's."""
    return getattr(session, "padded", lambda length: length)


def resolve_batching(batching: Batching, max_length: int | None) -> Batching:
    """Return the batching with fixed padding's length filled in from the most a text may have.

    Raises:
        UsageError: there is no such limit, and none was given.
    """
    if batching.padding != "fixed" or batching.pad_to is not None:
        return batching
    if max_length is None:
        raise UsageError("padding='fixed' on a model without a length limit; give pad_to")
    return dataclasses.replace(batching, pad_to=max_length)


def options_for(options: EngineOptions, batching: Batching) -> EngineOptions:
    """Return the engine options under which sessions pad as the (resolved) batching says."""
    return dataclasses.replace(options, pad_to=batching.pad_to, buckets=batching.buckets)


def predict_all(
    session: Session,
    texts: Sequence[str],
    batching: Batching,
    *,
    lengths: Sequence[int] | None = None,
    stages: StageSeconds | None = None,
) -> list[Prediction]:
    """Return one prediction a text, in the caller's order, run in batches.

    session: for several streams a SessionPool, which calls may share. lengths: tokens of each
    text, if known; otherwise they are counted where batches depend on them, which is part of the
    work. The session's own options decide on fixed and bucketed padding: see options_for.
    """
    if lengths is None:
        lengths = _count(session, texts, batching)
    batches = make_batches(lengths, batching)

    def run(batch: Batch) -> list[Prediction]:
        return session.predict([texts[at] for at in batch.positions], stages)

    predictions: dict[int, Prediction] = {}
    for batch, answers in zip(batches, _run_all(run, batches, batching.streams), strict=True):
        predictions.update(zip(batch.positions, answers, strict=True))
    return [predictions[at] for at in range(len(texts))]


def _count(session: Session, texts: Sequence[str], batching: Batching) -> Sequence[int]:
    if len(texts) <= 1 or (batching.order == "given" and batching.max_batch_tokens is None):
        return [1] * len(texts)  # where texts go does not depend on it
    return session.count_tokens(texts)


def _run_all(
    run: Callable[[Batch], list[Prediction]], batches: Sequence[Batch], streams: int
) -> Iterable[list[Prediction]]:
    """Return each batch's predictions in order, running `streams` batches at a time.

    After a failure or an interrupt no further batch starts.
    """
    if min(streams, len(batches)) <= 1:
        return map(run, batches)
    with ThreadPoolExecutor(streams) as executor:
        return list(executor.map(run, batches))
