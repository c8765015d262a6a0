"""Cases: the batches that one point of a bench runs, and the texts they are made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from ivme.engines.batching import Batching, make_batches, padding_statistics, resolve_batching
from ivme.engines.protocol import Session
from ivme.errors import WorkloadError
from ivme.models.loading import LoadedModel
from ivme.models.synthetic import put_mask_in, synthetic_workload

CALIBRATION_TEXTS = 128  # of those given, for engines that take their ranges from texts


@dataclass(frozen=True, kw_only=True)
class Case:
    """Batches of texts; one call of a session runs one of them."""

    tokens: int | None  # of every text; None: real texts of mixed lengths
    batching: Batching  # resolved
    batches: tuple[tuple[str, ...], ...]
    padded_lengths: tuple[int, ...]  # tokens, one a batch
    real_tokens: int  # of all batches
    padded_tokens: int

    @property
    def items_per_call(self) -> float:
        """Mean number of texts a call."""
        return sum(map(len, self.batches)) / len(self.batches)

    @property
    def tokens_per_call(self) -> float:
        """Mean number of real tokens a call."""
        return self.real_tokens / len(self.batches)

    @property
    def padded_tokens_per_call(self) -> float:
        """Mean number of computed tokens a call."""
        return self.padded_tokens / len(self.batches)

    def endless_batches(self) -> Iterator[tuple[str, ...]]:
        """Return the batches, over and over."""
        return cycle(self.batches)


def real_texts(texts: Sequence[str], model: LoadedModel) -> Sequence[str]:
    """Return the texts as the model takes them: with a mask in each, if it fills masks."""
    if model.kind != "masked":
        return texts
    return put_mask_in(texts, model.tokenizer.mask_token)


def synthetic_texts(model: LoadedModel, tokens: int, count: int, seed: int) -> Sequence[str]:
    """Return `count` texts of exactly `tokens` tokens.

    Raises:
        WorkloadError: the model does not take so many.
    """
    return synthetic_workload(
        model.tokenizer, tokens=tokens, count=count, seed=seed, with_mask=model.kind == "masked"
    ).texts


def make_case(
    texts: Sequence[str],
    batching: Batching,
    session: Session,
    max_length: int | None,
    tokens: int | None = None,
) -> Case:
    """Return the texts in batches.

    session: counts tokens. max_length: the most a text may have, for fixed padding. tokens: what
    each text has, where they were made so.

    Raises:
        WorkloadError: texts of `tokens` tokens would be cut.
    """
    resolved = resolve_batching(batching, max_length)
    lengths = session.count_tokens(texts)
    if tokens is not None and max(lengths) < tokens:
        raise WorkloadError(
            f"tokens={tokens}; this model takes {max(lengths)} at most here, generated tokens "
            "and --max-length counted"
        )
    batches = make_batches(lengths, resolved)
    statistics = padding_statistics(lengths, batches, session)
    return Case(
        tokens=tokens,
        batching=resolved,
        batches=tuple(tuple(texts[at] for at in batch.positions) for batch in batches),
        padded_lengths=tuple(batch.padded_length for batch in batches),
        real_tokens=statistics.real_tokens,
        padded_tokens=statistics.padded_tokens,
    )


def whole_round(session: Session, case: Case) -> Callable[[], None]:
    """Return a call that runs every batch of the case once."""

    def run() -> None:
        for batch in case.batches:
            session.predict(batch)

    return run
