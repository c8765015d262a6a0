"""The protocol that every engine keeps: what goes in, what comes out.

An engine turns a loaded model into a session; a session turns texts into predictions. The
batcher (batching.py) decides which texts go together; a session runs one batch at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is to run a model. Nothing here is left to a library's default."""

    threads: int = 1
    max_length: int | None = None  # tokens; longer texts are cut; None: the model's own limit
    pad_to: int | None = None  # tokens; pad every batch to this; None: to its longest text
    new_tokens: int = 16  # generated tokens a text, exactly; generating models only


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one text; the fields that its kind fills."""

    label: str | None = None  # classifier: most probable label
    probabilities: "np.ndarray | None" = None  # classifier: [labels], float32, sums to 1
    vector: "np.ndarray | None" = None  # embedding: [dimensions], float32
    text: str | None = None  # masked: the filled word; causal and seq2seq: the generated text


@dataclass(kw_only=True)
class StageSeconds:
    """Seconds spent in each stage of one call, filled by sessions that have stages."""

    encode_s: list[float] = field(default_factory=list)
    forward_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)


class Session(Protocol):
    """A model made ready to run by an engine."""

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        ...

    def close(self) -> None:
        """Free what the session holds; the loaded model stays the caller's."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A way to run a model."""

    name: str
    summary: str  # one line for `--help` and reports

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        ...

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> Session:
        """Return a session; raises RefusedError with the reason if there can be none."""
        ...
