"""Groups with planted faults around real members, and openers that give them."""

from collections.abc import Callable, Sequence
from typing import Any

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.groups import MemberGroup, Probabilities
from ivme.errors import IvmeError, OutOfMemoryError


class FaultyGroup:
    """A real group whose calls `check` may refuse first, by raising."""

    def __init__(self, group: MemberGroup, check: Callable[[Sequence[str]], None]) -> None:
        self.group, self.check = group, check
        self.names, self.labels, self.notes = group.names, group.labels, group.notes
        self.sizes: list[int] = []

    def score_batch(self, texts: Sequence[str]) -> Probabilities:
        self.check(texts)
        self.sizes.append(len(texts))
        return self.group.score_batch(texts)

    def decide(self, probabilities: Any) -> Any:
        return self.group.decide(probabilities)

    def close(self) -> None:
        self.group.close()


class Opener:
    """Opens the groups of a folder, those in `checks` with a fault; notes what it was asked."""

    def __init__(self, folder: Any, checks: dict[str, Callable[[Sequence[str]], None]]) -> None:
        self.folder, self.checks = EnsembleFolder.read(folder), checks
        self.asked: list[dict[str, Any]] = []
        self.given: dict[str, FaultyGroup] = {}

    def __call__(self, group_name: str, **arguments: Any) -> MemberGroup:
        self.asked.append({"group": group_name, **arguments})
        group = self.folder.open_group(group_name, **{**arguments, "device": "auto"})
        if group_name in self.checks:
            self.given[group_name] = FaultyGroup(group, self.checks[group_name])
            return self.given[group_name]
        return group


def out_of_memory_over(most: int) -> Callable[[Sequence[str]], None]:
    """Return the fault of a machine that holds `most` texts at a time."""

    def check(texts: Sequence[str]) -> None:
        if len(texts) > most:
            raise OutOfMemoryError(f"{len(texts)} texts do not fit")

    return check


def broken(texts: Sequence[str]) -> None:
    """The fault of a member that never answers."""
    raise IvmeError("its weights are worn out")
