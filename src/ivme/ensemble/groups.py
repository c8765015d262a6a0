"""Groups of members that share work: one call scores texts with all members of a group.

The tabular members share their features; a transformer is a group of one. Imports no engine: a
plan's libraries are loaded when its member is opened.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.tabular import Probabilities, TabularMembers, checked_text
from ivme.ensemble.text_normalization import normalized, without_lone_surrogates
from ivme.errors import IvmeError, UsageError
from ivme.hardware.threads import check_threads

if TYPE_CHECKING:
    from ivme.engines.protocol import Prediction
    from ivme.tune.predictor import Predictor

__all__ = ["MemberGroup", "Probabilities", "TabularGroup", "TransformerMember"]

CHARACTERS_PER_TOKEN = 32  # more of a text is not even split into tokens: 10 MB take as 16 kB
BATCH_SIZE = 16  # texts of like length together, where there are several
BATCH_TOKENS = 2048  # of them on a processor, padding counted: what a call needs is bounded
MEMBERS_TABLE = Mapping[str, NDArray[np.float64]]


class MemberGroup(Protocol):
    """Members that are opened, called and closed together."""

    names: tuple[str, ...]
    labels: tuple[str, ...]  # in the order of the probabilities
    notes: tuple[str, ...]  # what the user should know: device, precision, what was decided

    def score_batch(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of each text, [texts, labels], by each member."""
        ...

    def decide(self, probabilities: MEMBERS_TABLE) -> dict[str, NDArray[np.intp]]:
        """Return the number of the label that each member gives each text, [texts]."""
        ...

    def close(self) -> None:
        """Free the members; a second call does nothing."""
        ...


class TabularGroup:
    """The tree and linear members: features once, then each member on at most `threads`."""

    def __init__(self, members: TabularMembers, *, threads: int = 1) -> None:
        self.members = members
        self.names = tuple(members.members)
        self.labels = members.labels
        self.notes: tuple[str, ...] = ()
        check_threads(threads)
        self.threads = threads

    @staticmethod
    def load(folder: str | Path, *, threads: int = 1) -> "TabularGroup":
        """Return the members of a folder that TabularMembers wrote, every file checked."""
        return TabularGroup(TabularMembers.load(folder), threads=threads)

    def score_batch(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of each text, [texts, labels], by each member."""
        return self.members.score_batch(texts, self.threads)

    def decide(self, probabilities: MEMBERS_TABLE) -> dict[str, NDArray[np.intp]]:
        """Return the number of the label that each member gives each text, [texts]."""
        return {
            name: self.members.members[name].decide(np.atleast_2d(one))
            for name, one in probabilities.items()
        }

    def close(self) -> None:
        """Do nothing: the members are arrays."""


class TransformerMember:
    """A tuned transformer: texts through its plan, probabilities in the ensemble's label order.

    threshold: with two labels, the least probability of the second at which it is given; None
    gives the likeliest.
    """

    def __init__(
        self,
        name: str,
        predictor: "Predictor",
        labels: Sequence[str],
        *,
        threshold: float | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        check_labels(name, predictor.labels, labels)
        self.names: tuple[str, ...] = (name,)
        self.labels = tuple(labels)
        self.threshold = threshold
        self.predictor = predictor
        self.notes = (*notes, *predictor.notes)
        self._order = [predictor.labels.index(label) for label in labels]

    @staticmethod
    def load(
        name: str,
        folder: str | Path,
        labels: Sequence[str],
        *,
        threads: int | None = None,
        max_length: int | None = None,
        threshold: float | None = None,
        verify: bool = True,
    ) -> "TransformerMember":
        """Return the member of a plan's folder; its labels must be those of the ensemble.

        threads: of all its streams together; None: as the plan says. max_length: tokens to cut
        texts to, where the plan allows more.

        Raises:
            UsageError: labels that differ, a plan of another kind or a damaged one; it is named.
        """
        from ivme.tune.plan import load_plan

        if threads is not None:
            check_threads(threads)
        predictor = load_plan(folder, verify=verify, threads=threads, max_length=max_length)
        try:
            return TransformerMember(name, predictor, labels, threshold=threshold)
        except UsageError:
            predictor.close()
            raise

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.predictor.plan.device

    @property
    def max_length(self) -> int | None:
        """Tokens that its texts are cut to; None: no limit."""
        return self.predictor.max_length

    def score_batch(self, texts: Sequence[str], batch_size: int = BATCH_SIZE) -> Probabilities:
        """Return the probabilities of each text, [texts, labels].

        batch_size: texts that run together at most; fewer take less memory.

        Raises:
            UsageError: one text in the place of several, or something that is no text.
            IvmeError: the model answers with something that is no probability.
        """
        if isinstance(texts, str):
            raise UsageError("one text where several were expected; give a list")
        limit = (self.max_length or 512) * CHARACTERS_PER_TOKEN
        readable = [readable_text(text, limit) for text in texts]
        if len(readable) == 1:
            predictions = self.predictor.predict(readable)
        else:
            most = BATCH_TOKENS if self.device == "cpu" else None
            batched = self.predictor.batched(batch_size=batch_size, max_batch_tokens=most)
            predictions = batched(readable)
        return {self.names[0]: self._table(predictions)}

    def decide(self, probabilities: MEMBERS_TABLE) -> dict[str, NDArray[np.intp]]:
        """Return the number of the label that the member gives each text, [texts]."""
        (name,) = self.names
        table = np.atleast_2d(probabilities[name])
        if self.threshold is None:
            return {name: table.argmax(axis=1)}
        return {name: (table[:, 1] >= self.threshold).astype(np.intp)}

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        self.predictor.close()

    def _table(self, predictions: Sequence["Prediction"]) -> NDArray[np.float64]:
        if not predictions:
            return np.zeros((0, len(self.labels)))
        table = np.array([one.probabilities for one in predictions], np.float64)[:, self._order]
        total = table.sum(axis=1, keepdims=True)
        if not np.isfinite(total).all() or (total <= 0).any():
            raise IvmeError(
                f"member {self.names[0]} answers with {table[0].tolist()}, which is no "
                "probability; train it again, or tune it without int8"
            )
        return table / total  # float32 adds up to 1 within a millionth only


def check_labels(name: str, found: Sequence[str], expected: Sequence[str]) -> None:
    """Raise UsageError unless the member knows the ensemble's labels, in any order."""
    if sorted(found) != sorted(expected):
        raise UsageError(
            f"member {name} knows the labels {', '.join(found) or 'none'}, the ensemble "
            f"{', '.join(expected)}; train it again on the same data"
        )


def readable_text(text: str, max_characters: int) -> str:
    """Return the beginning of a text as tokenizers take it, in its plainest spelling.

    Look-alike letters and white space are as `normalized` has them; lone surrogates become U+FFFD.

    Raises:
        UsageError: not a text.
    """
    return without_lone_surrogates(normalized(checked_text(text)[:max_characters]))
