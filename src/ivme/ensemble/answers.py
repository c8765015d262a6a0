"""The answer on one text, as it is kept and as callers get it.

Callers get dicts of their own each time: what they change, nobody else sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

TOTAL = "total"  # the time of all, in timings


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """The labels as in the data, in the order of their numbers, and what people read for each."""

    labels: tuple[str, ...]
    names: Mapping[str, str]

    def prediction(self, number: int) -> int | str:
        """Return the label as in the data: as a number where all labels are whole numbers."""
        return self._predictions[number]

    def name(self, number: int) -> str:
        """Return what people read for the label."""
        label = self.labels[number]
        return self.names.get(label, label)

    @cached_property
    def _predictions(self) -> tuple[int | str, ...]:
        if all(_is_whole_number(label) for label in self.labels):
            return tuple(int(label) for label in self.labels)
        return self.labels


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A label's number, and how sure its giver is, 0 to 1."""

    number: int
    confidence: float

    def to_dict(self, labels: LabelSet) -> dict[str, Any]:
        """Return prediction, confidence and label."""
        return {
            "prediction": labels.prediction(self.number),
            "confidence": self.confidence,
            "label": labels.name(self.number),
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that is known about one text.

    members: by name, in the ensemble's order; those that failed are missing. probability: of each
    label. timings_ms: by member, "features" of the tabular ones, and "total". notes: what holds
    whenever this text is asked for; call_notes: what holds of the call that answered it alone.
    """

    members: Mapping[str, Choice]
    ensemble: Choice
    vote_count: int
    probability: tuple[float, ...]
    too_short: bool
    timings_ms: Mapping[str, float]
    notes: tuple[str, ...] = ()
    call_notes: tuple[str, ...] = ()
    members_down: Mapping[str, str] = field(default_factory=dict)

    def ensemble_dict(self, labels: LabelSet) -> dict[str, Any]:
        """Return what the ensemble says."""
        return {
            "prediction": labels.prediction(self.ensemble.number),
            "label": labels.name(self.ensemble.number),
            "confidence": self.ensemble.confidence,
            "vote_count": self.vote_count,
            "total_models": len(self.members),
        }

    def to_dict(self, labels: LabelSet) -> dict[str, Any]:
        """Return what each member says, and the ensemble."""
        return {
            "individual_results": {
                name: choice.to_dict(labels) for name, choice in self.members.items()
            },
            "ensemble": self.ensemble_dict(labels),
        }

    def details(self, labels: LabelSet, *, least_words: int, cached: bool) -> dict[str, Any]:
        """Return what is given on request, beside the answer itself."""
        return {
            "probability": dict(zip(labels.labels, self.probability, strict=True)),
            "timings_ms": dict(self.timings_ms),
            "too_short": self.too_short,
            "least_words": least_words,
            "cached": cached,
            "notes": [*self.notes, *self.call_notes],
            "members_down": dict(self.members_down),
        }


def _is_whole_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal() and str(int(label)) == label
