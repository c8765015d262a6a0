"""A group of members that, where memory runs out, goes on with less: every step is noted.

First smaller batches; then, where the caller allows it, shorter texts; then the processor in the
place of a GPU. What no step helps is passed on, and the members drop out.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ivme.ensemble.groups import BATCH_SIZE, MemberGroup, Probabilities
from ivme.measure.memory import release_free_memory
from ivme.measure.memory_guard import is_out_of_memory

SHORTER_TOKENS = 256  # that texts are cut to, in the place of the usual 512


# What opens a group by its name, as EnsembleFolder.open_group does. `max_length` is given
# only where texts are to be cut shorter.
GroupOpener = Callable[..., MemberGroup]


class CarefulGroup:
    """A group by its name: opened on demand, scored with less where memory runs out.

    arguments: for the opener: threads, device, progress. notes: what was decided, first by the
    members themselves.
    """

    def __init__(
        self, name: str, opener: GroupOpener, *, allow_shorter: bool, **arguments: Any
    ) -> None:
        self.name = name
        self._opener, self._arguments = opener, arguments
        self._steps: list[tuple[dict[str, Any], str]] = []
        if allow_shorter:
            shorter = f"{name} ran out of memory: texts are cut to {SHORTER_TOKENS} tokens"
            self._steps.append(({"max_length": SHORTER_TOKENS}, shorter))
        if arguments.get("device") != "cpu":
            moved = f"{name} ran out of memory on its device: it runs on the processor"
            self._steps.append(({"device": "cpu"}, moved))
        self._group: MemberGroup | None = None
        self._changing = threading.RLock()
        self._taken: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the members say of themselves, and the steps that were taken."""
        own = () if self._group is None else tuple(getattr(self._group, "notes", ()))
        return (*own, *self._taken)

    @property
    def taken(self) -> tuple[str, ...]:
        """The steps that were taken, which answers name."""
        return self._taken

    @property
    def opened(self) -> MemberGroup | None:
        """The group, None if it is not open; never waits for one that is being opened."""
        return self._group

    def open(self) -> MemberGroup:
        """Return the group, opened if it is not; where memory runs out, on the processor."""
        with self._changing:
            while self._group is None:
                try:
                    self._group = self._opener(self.name, **self._arguments)
                except Exception as error:
                    # Shorter texts make no room for weights.
                    self._steps = [step for step in self._steps if "max_length" not in step[0]]
                    if not is_out_of_memory(error) or not self._take_step():
                        raise
            return self._group

    def score(self, texts: Sequence[str]) -> tuple[Probabilities, tuple[str, ...]]:
        """Return the probabilities by each member, and notes that hold of this call alone."""
        size = len(texts)
        while True:
            group = self.open()
            try:
                return self._score_in_parts(group, texts, size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                release_free_memory()
                if size > 1:
                    size = min(size, BATCH_SIZE) // 2
                elif not self._can_change(group) or not self._take_step():
                    raise

    def close(self) -> None:
        """Free the members; a second call does nothing."""
        with self._changing:
            group, self._group = self._group, None
        if group is not None:
            group.close()

    def _score_in_parts(
        self, group: MemberGroup, texts: Sequence[str], size: int
    ) -> tuple[Probabilities, tuple[str, ...]]:
        if size == len(texts):
            return group.score_batch(texts), ()
        parts = [
            group.score_batch(texts[start : start + size]) for start in range(0, len(texts), size)
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        note = f"{self.name} ran out of memory on {len(texts)} texts: they ran {size} at a time"
        return joined, (note,)

    def _can_change(self, group: MemberGroup) -> bool:
        """Return whether another step can help; drops those that change nothing for the group.

        A group that does not say where it runs, or what it cuts texts to, is tried.
        """
        device, limit = getattr(group, "device", None), getattr(group, "max_length", None)
        useless = {
            name
            for name, is_so in (
                ("device", device == "cpu"),
                ("max_length", limit is not None and limit <= SHORTER_TOKENS),
            )
            if is_so
        }
        self._steps = [step for step in self._steps if not useless & step[0].keys()]
        return bool(self._steps)

    def _take_step(self) -> bool:
        """Close the group and take the next step, if there is one."""
        with self._changing:
            if not self._steps:
                return False
            change, note = self._steps.pop(0)
            self._arguments = {**self._arguments, **change}
            self._taken = (*self._taken, note)
        self.close()
        release_free_memory()
        return True
