"""A group of an ensemble's members that lives in another process, as the predictor sees it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.groups import Probabilities
from ivme.serve.supervision import MemberProcess


class RemoteGroup:
    """A MemberGroup whose calls go to a process; while that is down they fail at once.

    names, labels: as the ensemble's folder has them, so that nothing waits for the process.
    """

    def __init__(
        self, process: MemberProcess, names: tuple[str, ...], labels: tuple[str, ...]
    ) -> None:
        self.process = process
        self.names = names
        self.labels = labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What the members say of themselves."""
        return tuple(self.process.description.get("notes", ()))

    def score_batch(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of each text, [texts, labels], by each member.

        Raises:
            MemberDownError: the process is down, or died meanwhile.
        """
        return dict(self.process.call({"texts": list(texts)}).arrays)

    @property
    def is_idle(self) -> bool:
        """Whether the process can be called and nobody else does."""
        return self.process.is_idle

    async def score_soon(self, text: str) -> Probabilities:
        """Return the probabilities of a short text, waited for on the event loop.

        Raises:
            MemberBusyError: the process answers another caller.
            MemberDownError: it is down, or died meanwhile.
        """
        return dict((await self.process.call_soon({"texts": [text]})).arrays)

    def decide(
        self, probabilities: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.intp]]:
        """Return the number of the label that each member gives each text, [texts]."""
        thresholds = self.process.description["thresholds"]
        return {
            name: _choose(np.atleast_2d(table), thresholds[name])
            for name, table in probabilities.items()
        }

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self.process.close()


def _choose(table: NDArray[np.float64], threshold: float | None) -> NDArray[np.intp]:
    if threshold is None:
        return table.argmax(axis=1)
    return (table[:, 1] >= threshold).astype(np.intp)
