"""From what members say to what the ensemble says: majority vote, or weighted stacking."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ivme.errors import UsageError

if TYPE_CHECKING:
    from ivme.ensemble.stacking import Stacking

VOTINGS = ("majority", "stacking")

Tables = Mapping[str, NDArray[np.float64]]  # member -> [texts, labels]
Decisions = Mapping[str, NDArray[np.intp]]  # member -> [texts]


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """What the ensemble says of each text.

    chosen: label numbers [texts]; confidence: 0 to 1 [texts]; votes: members that chose the same
    label [texts]; probability: of each label [texts, labels], calibrated by stacking where it was
    trained, else the mean of the members.
    """

    chosen: NDArray[np.intp]
    confidence: NDArray[np.float64]
    votes: NDArray[np.intp]
    probability: NDArray[np.float64]


def check_voting(voting: str, *, has_stacking: bool) -> None:
    """Raise UsageError if there is no such voting, or none trained."""
    if voting not in VOTINGS:
        raise UsageError(f"voting={voting!r}; expected one of {', '.join(VOTINGS)}")
    if voting == "stacking" and not has_stacking:
        raise UsageError(
            "voting='stacking', and this ensemble was trained without; train it again with "
            "validation texts, or use voting='majority'"
        )


def decide(
    tables: Tables, decisions: Decisions, *, voting: str, stacking: "Stacking | None"
) -> Verdicts:
    """Return the verdict on each text from the members that answered, at least one.

    voting="majority": the label that most members chose; of equal ones that with the larger mean
    probability, and the first if that is equal too; the confidence is the share of votes.
    voting="stacking": the label of the largest combined probability, which is the confidence.
    """
    mean = np.mean(list(tables.values()), axis=0)
    counts = _count(decisions, mean.shape)
    probability = mean if stacking is None else stacking.combine(tables)
    if voting == "stacking":
        chosen = probability.argmax(axis=1)
    else:
        has_most = counts == counts.max(axis=1, keepdims=True)
        chosen = np.where(has_most, mean, -1.0).argmax(axis=1)
    every = np.arange(len(chosen))
    votes = counts[every, chosen]
    confidence = probability[every, chosen] if voting == "stacking" else votes / len(decisions)
    return Verdicts(chosen=chosen, confidence=confidence, votes=votes, probability=probability)


def _count(decisions: Decisions, shape: tuple[int, ...]) -> NDArray[np.intp]:
    counts = np.zeros(shape, np.intp)
    every = np.arange(shape[0])
    for chosen in decisions.values():
        counts[every, chosen] += 1
    return counts
