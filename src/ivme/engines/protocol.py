"""The protocol that every engine keeps: what goes in, what comes out.

An engine turns a loaded model into a session; a session turns texts into predictions. The
batcher (batching.py) decides which texts go together; a session runs one batch at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ivme.hardware.threads import check_threads

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from ivme.models.interface import TextModel
    from ivme.models.loading import LoadedModel

PRECISIONS = {  # what an engine may compute in
    "float32": "weights and activations in float32",
    "bfloat16": "weights and activations in bfloat16",
    "float16": "weights and activations in float16",
    "autocast": "float32 weights, matrix products in bfloat16",
    "int8": "weights in int8, activations quantized as they come",
    "int8-static": "weights and activations in int8, ranges taken from texts beforehand",
    "int4": "weights in 4 bits, activations in bfloat16",
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is to run a model. Nothing here is left to a library's default.

    Raises UsageError where the number of threads cannot be meant: libraries would start them.
    """

    threads: int = 1
    max_length: int | None = None  # tokens; longer texts are cut; None: the model's own limit
    pad_to: int | None = None  # tokens; pad every batch to this; None: to its longest text
    buckets: tuple[int, ...] = ()  # tokens; pad every batch to the smallest that holds it
    new_tokens: int = 16  # generated tokens a text, exactly; generating models only
    precision: str | None = None  # one of the engine's own; None: as loaded, or else its first
    calibration_texts: tuple[str, ...] = ()  # that "int8-static" takes its ranges from

    def __post_init__(self) -> None:
        check_threads(self.threads)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says about one text; the fields that its kind fills."""

    label: str | None = None  # classifier: most probable label
    probabilities: "np.ndarray | None" = (
        None  # classifier: [labels], float32; sums to 1, unless each is a yes or no
    )
    vector: "np.ndarray | None" = None  # embedding: [dimensions], float32
    log_likelihood: float | None = None  # causal, if scored: nats a token, see ScoringSession
    text: str | None = None  # masked: the filled word; causal and seq2seq: the generated text


@dataclass(kw_only=True)
class StageSeconds:
    """Seconds spent in each stage of one call, filled by sessions that have stages."""

    encode_s: list[float] = field(default_factory=list)
    forward_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)


@runtime_checkable
class PaddingSession(Protocol):
    """A session that prepares itself for each shape, and can be told to keep to a few lengths."""

    model: "TextModel"

    def pad_to(self, lengths: tuple[int, ...]) -> None:
        """Pad batches to these lengths from now on."""
        ...

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        ...


class Session(Protocol):
    """A model made ready to run by an engine."""

    precision: str  # that it computes in, read back from the library where it tells
    notes: tuple[str, ...]  # what the user should know: what was decided, what did not work

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
class ScoringSession(Session, Protocol):
    """A session on a causal model that can say how likely a text is."""

    def score(self, text: str) -> float:
        """Return the mean log-likelihood, in nats, of the text's last `new_tokens` tokens.

        Each given all before it. Of a shorter text all but the first token count; 0 for a single
        one, which nothing is said about.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """A way to run a model."""

    name: str
    summary: str  # one line for `--help` and reports
    precisions: tuple[str, ...]  # of PRECISIONS, that it can compute in

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        ...

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> Session:
        """Return a session; raises RefusedError with the reason if there can be none."""
        ...


@runtime_checkable
class ArtefactEngine(Engine, Protocol):
    """An engine that runs an exported copy of a model, kept as files; see artefacts.py."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that the files depend on."""
        ...

    def stored_precision(self, options: EngineOptions) -> str:
        """Return the precision of the files that sessions with these options run."""
        ...

    def build(self, model: "LoadedModel", options: EngineOptions, folder: "Path") -> None:
        """Write the artefact's files into an empty folder; raises RefusedError if it cannot."""
        ...

    def open(self, folder: "Path", model: "TextModel", options: EngineOptions) -> Session:
        """Return a session on the artefact in the folder, without the model itself."""
        ...
