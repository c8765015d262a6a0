"""The batcher: which texts run together, how they are padded, and what padding costs.

A strategy gets the texts' lengths and returns batches of their positions. To add one (buckets, a
token budget), write a function and name it in STRATEGIES.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ivme.engines.protocol import EngineOptions, Prediction, Session, StageSeconds
from ivme.errors import UsageError

PADDINGS = ("dynamic", "fixed")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How texts are put into batches.

    order: "given", as the caller has them, or "sorted", by length, so that texts of like length
    share a batch. padding: "dynamic", to the longest text of each batch, or "fixed", to `pad_to`
    tokens; without `pad_to` to the most that the model takes. streams: batches that run at a time,
    each on its own session and threads; see ivme.engines.streams.

    Raises:
        UsageError: a value that is not allowed.
    """

    batch_size: int = 1
    order: str = "given"
    padding: str = "dynamic"
    pad_to: int | None = None
    streams: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.batch_size < 1:
            raise UsageError(f"batch_size={self.batch_size}; expected 1 or more")
        if self.streams < 1:
            raise UsageError(f"streams={self.streams}; expected 1 or more")
        if self.order not in STRATEGIES:
            raise UsageError(f"order={self.order!r}; expected one of {', '.join(STRATEGIES)}")
        if self.padding not in PADDINGS:
            raise UsageError(f"padding={self.padding!r}; expected one of {', '.join(PADDINGS)}")
        if self.pad_to is not None and self.padding != "fixed":
            raise UsageError(f"pad_to={self.pad_to} needs padding='fixed', not {self.padding!r}")


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


Strategy = Callable[[Sequence[int], Batching], list[tuple[int, ...]]]


def in_given_order(lengths: Sequence[int], batching: Batching) -> list[tuple[int, ...]]:
    """Return the positions cut into batches as they come."""
    return _cut(range(len(lengths)), batching.batch_size)


def by_length(lengths: Sequence[int], batching: Batching) -> list[tuple[int, ...]]:
    """Return the positions sorted by length and cut; the longest first, so that it fails early.

    The batch that is not full goes where it saves most padding: of all ways to fill so many
    batches, none pads less.
    """
    size = batching.batch_size
    positions = sorted(range(len(lengths)), key=lambda at: -lengths[at])
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


STRATEGIES: Mapping[str, Strategy] = {"given": in_given_order, "sorted": by_length}


def make_batches(lengths: Sequence[int], batching: Batching) -> list[Batch]:
    """Return the batches for texts of `lengths` tokens; every text is in exactly one."""
    return [
        Batch(
            positions=positions,
            padded_length=batching.pad_to or max(lengths[at] for at in positions),
        )
        for positions in STRATEGIES[batching.order](lengths, batching)
    ]


def padding_statistics(lengths: Sequence[int], batches: Sequence[Batch]) -> PaddingStatistics:
    """Return the real and padded tokens of the batches of texts of `lengths` tokens."""
    return PaddingStatistics(
        real_tokens=sum(lengths),
        padded_tokens=sum(len(batch.positions) * batch.padded_length for batch in batches),
    )


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
    return dataclasses.replace(options, pad_to=batching.pad_to)


def predict_all(
    session: Session,
    texts: Sequence[str],
    batching: Batching,
    *,
    lengths: Sequence[int] | None = None,
    stages: StageSeconds | None = None,
) -> list[Prediction]:
    """Return one prediction a text, in the caller's order, run in batches.

    lengths: tokens of each text, if known; otherwise they are counted where the order needs them,
    which is part of the work. The session's own options decide on fixed padding: see options_for.
    """
    if lengths is None:
        lengths = [0] * len(texts) if batching.order == "given" else session.count_tokens(texts)
    predictions: dict[int, Prediction] = {}
    for batch in make_batches(lengths, batching):
        answers = session.predict([texts[at] for at in batch.positions], stages)
        predictions.update(zip(batch.positions, answers, strict=True))
    return [predictions[at] for at in range(len(texts))]


def _cut(positions: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(positions[at : at + size]) for at in range(0, len(positions), size)]
