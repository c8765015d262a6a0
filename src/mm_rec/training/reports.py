"""What a run tells those who listen: records of steps, evaluations and the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step. loss: with L_Aux; both means over the tokens of all processes, in nats.

    share_done: 0..1 of the run; elapsed_s: of training, earlier sessions too.
    """

    step: int  # counted from 1
    loss: float
    auxiliary_loss: float | None
    learning_rate: float
    gradient_norm: float
    tokens_seen: int  # since the start of the run, by all processes
    tokens_per_s: float
    elapsed_s: float
    share_done: float
    skipped_because: str | None = None  # the step changed nothing, and why


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model predicts a text: mean cross-entropy in nats a token."""

    loss: float
    tokens: int
    bytes_per_token: float

    @property
    def perplexity(self) -> float:
        """Return exp(loss); infinity where that is too large for a double."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    @property
    def bits_per_byte(self) -> float:
        """Return the bits needed for each byte of the text."""
        return self.loss / math.log(2) / self.bytes_per_token


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run, or a session of it, ended."""

    step: int
    tokens_seen: int
    elapsed_s: float
    skipped_steps: int
    checkpoint: Path
    evaluation: Evaluation | None  # None: stopped on request
    is_complete: bool


class Listener:
    """Is told what happens, and does nothing with it; subclasses do.

    It must not change the run; what it raises ends it.
    """

    def started(self, step: int, resumed_from: Path | None) -> None:
        """Training begins, after `step` steps."""

    def stepped(self, report: StepReport) -> None:
        """A step is done, or was skipped."""

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """The validation text was read, or a part of it."""

    def sampled(self, step: int, text: str) -> None:
        """The model wrote something."""

    def saved(self, step: int, folder: Path) -> None:
        """A checkpoint was written."""

    def noted(self, text: str) -> None:
        """Something that a reader of the figures should know."""

    def ended(self, summary: Summary) -> None:
        """The run is over, or was stopped."""


class Listeners(Listener):
    """Passes everything on to several listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def started(self, step: int, resumed_from: Path | None) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.started(step, resumed_from)

    def stepped(self, report: StepReport) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.stepped(report)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.evaluated(step, evaluation)

    def sampled(self, step: int, text: str) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.sampled(step, text)

    def saved(self, step: int, folder: Path) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.saved(step, folder)

    def noted(self, text: str) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.noted(text)

    def ended(self, summary: Summary) -> None:
        """Pass it on."""
        for one in self._listeners:
            one.ended(summary)
