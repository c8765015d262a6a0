"""What a bench finds, and whom it tells."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ivme.measure.records import Comparison, Measurement


def _ignore(_: object) -> None:
    """Hear nothing."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """`tell` is called before each step, `found` after each result."""

    tell: Callable[[str], None] = _ignore
    found: Callable[[Measurement | Comparison], None] = _ignore


@dataclass(kw_only=True)
class Findings:
    """What a bench has found so far; it survives an interrupt."""

    measurements: list[Measurement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a remark once, however often it comes up."""
        if text not in self.notes:
            self.notes.append(text)

    def keep(self, result: Measurement | Comparison, listener: Listener) -> None:
        """Keep a result and tell of it."""
        if isinstance(result, Measurement):
            self.measurements.append(result)
        else:
            self.comparisons.append(result)
        listener.found(result)
