"""From what members said of texts to the ensemble's answers on them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ivme.ensemble.answers import TOTAL, Answer, Choice
from ivme.ensemble.running import Failure, Outcome, Scores
from ivme.ensemble.stacking import Stacking
from ivme.ensemble.voting import decide
from ivme.ensemble.words import has_fewer_words
from ivme.errors import IvmeError

FEATURES = "features"  # that the tabular members share, in timings


@dataclass(frozen=True, kw_only=True)
class AnswerMaker:
    """How an ensemble makes one answer of many: see ivme.ensemble.voting.decide."""

    member_names: tuple[str, ...]  # in the order of answers
    voting: str
    stacking: Stacking | None
    least_words: int  # a text with fewer is too short to judge

    def answers(
        self, texts: Sequence[str], outcomes: Sequence[Outcome], seconds: float
    ) -> list[Answer]:
        """Return the answer on each text; seconds: that all texts took together.

        Raises:
            IvmeError: no member answered.
        """
        down = {one.name: one.reason for one in outcomes if isinstance(one, Failure)}
        by_name = {one.name: one for one in outcomes if isinstance(one, Scores)}
        if not by_name:
            raise nobody_answered(down)
        scores = {name: by_name[name] for name in self.member_names if name in by_name}
        verdicts = decide(
            {name: one.table for name, one in scores.items()},
            {name: one.chosen for name, one in scores.items()},
            voting=self.voting,
            stacking=self.stacking,
        )
        timings = _timings_ms(scores.values(), seconds, len(texts))
        notes, call_notes = self._notes(scores.values()), _call_notes(scores.values(), len(texts))
        return [
            Answer(
                members={name: choice_of(one, at) for name, one in scores.items()},
                ensemble=Choice(
                    number=int(verdicts.chosen[at]), confidence=float(verdicts.confidence[at])
                ),
                vote_count=int(verdicts.votes[at]),
                probability=tuple(verdicts.probability[at].tolist()),
                too_short=has_fewer_words(text, self.least_words),
                timings_ms=timings,
                notes=notes,
                call_notes=call_notes,
                members_down=down,
            )
            for at, text in enumerate(texts)
        ]

    def _notes(self, scores: Collection[Scores]) -> tuple[str, ...]:
        notes = list(dict.fromkeys(note for one in scores for note in one.notes))
        if self.stacking is None:
            notes.append("the probability is the mean of the members: no calibration was trained")
        return tuple(notes)


def _call_notes(scores: Collection[Scores], texts: int) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note for one in scores for note in one.call_notes))
    if texts > 1:
        notes.append(f"times are shares of a batch of {texts} texts")
    return tuple(notes)


def choice_of(scores: Scores, at: int) -> Choice:
    """Return the label that a member gives the text at that position, and its probability."""
    number = int(scores.chosen[at])
    return Choice(number=number, confidence=float(scores.table[at, number]))


def nobody_answered(down: Mapping[str, str]) -> IvmeError:
    """Return the error that names each member and why it did not answer."""
    reasons = "; ".join(f"{name}: {why}" for name, why in down.items())
    return IvmeError(f"no member of the ensemble answered. {reasons}")


def _timings_ms(scores: Collection[Scores], seconds: float, texts: int) -> dict[str, float]:
    per_text = 1e3 / texts
    found = {one.name: per_text * one.seconds for one in scores}
    shared = sum(one.shared_seconds for one in scores)
    if shared:
        found[FEATURES] = per_text * shared
    return {**found, TOTAL: per_text * seconds}
