"""Running the members of an ensemble on texts: side by side, on a bounded number of threads.

Each worker is one thread and owns its transformers, which it runs one after the other: calls from
many threads queue there, and no more memory is taken than one call needs. The tabular members take
a third of a millisecond and run on the caller's thread meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.fallback import CarefulGroup
from ivme.ensemble.groups import MemberGroup, Probabilities, TabularGroup
from ivme.errors import UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What one member says of the texts.

    table: probabilities [texts, labels]; chosen: label numbers [texts]; seconds: of the member, or
    of its whole group where that answers at once. notes: on the member; call_notes: on what it
    took to answer these texts together.
    """

    name: str
    table: NDArray[np.float64]
    chosen: NDArray[np.intp]
    seconds: float
    notes: tuple[str, ...] = ()
    call_notes: tuple[str, ...] = ()
    shared_seconds: float = 0.0  # of the features, noted with the first member that reads them


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A member that did not answer, and why."""

    name: str
    reason: str


Outcome = Scores | Failure
_End = BaseException | None  # of a group: None, or what interrupts the caller too


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How many transformers run at a time, and on how many threads each."""

    at_a_time: int
    threads: int


def place(transformers: int, threads: int, at_a_time: int | None) -> Placement:
    """Return how so many transformers share the threads; at_a_time: None for as many as fit.

    Raises:
        UsageError: fewer than one thread, or than one at a time.
    """
    for name, value in (("threads", threads), ("at_a_time", at_a_time)):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value}; expected 1 or more")
    count = max(1, min(transformers, threads, at_a_time or transformers))
    return Placement(at_a_time=count, threads=threads // count)


@dataclass(kw_only=True, eq=False)
class PlacedGroup:
    """A group, its members' names, and the worker that runs it; None: the caller's thread."""

    group: CarefulGroup
    members: tuple[str, ...]
    worker: ThreadPoolExecutor | None
    down: dict[str, str] = field(default_factory=dict)  # member -> why it could not be opened

    def open(self) -> "Future[None]":
        """Open the group where it will run; a failure that may pass by is kept in `down`."""
        if self.worker is not None:
            return self.worker.submit(self._open)
        done: Future[None] = Future()
        try:
            self._open()
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
        return done

    def _open(self) -> None:
        try:
            self.group.open()
        except Exception as error:
            if is_refusal(error):
                raise
            self.down = dict.fromkeys(self.members, reason_of(error))


def run_groups(
    groups: Sequence[PlacedGroup], texts: Sequence[str], say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Yield what each member says of all texts, as it answers; `say` is called on this thread."""
    outcomes: SimpleQueue[Outcome | _End] = SimpleQueue()
    waiting = 0
    for placed in groups:
        if placed.worker is not None and not placed.down:
            _announce(placed, say)
            placed.worker.submit(_run_into, outcomes, placed, texts)
            waiting += 1
    for placed in groups:
        for name, reason in placed.down.items():
            yield Failure(name=name, reason=reason)
        if placed.worker is None and not placed.down:
            _announce(placed, say)
            yield from _outcomes_of(placed, texts)
    while waiting:
        outcome = outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is None:
            waiting -= 1
        else:
            yield outcome


def _run_into(
    outcomes: "SimpleQueue[Outcome | _End]", placed: PlacedGroup, texts: Sequence[str]
) -> None:
    end: _End = None
    try:
        for outcome in _outcomes_of(placed, texts):
            outcomes.put(outcome)
    except BaseException as error:  # the waiting caller must hear of it, or would wait for ever
        end = error
    outcomes.put(end)


def _announce(placed: PlacedGroup, say: Callable[[str], None]) -> None:
    for name in placed.members:
        say(f"Running {name}...")


def _outcomes_of(placed: PlacedGroup, texts: Sequence[str]) -> Iterator[Outcome]:
    """Yield the outcome of each member of a group; those after a failure fail with its reason."""
    missing = dict.fromkeys(placed.members)
    try:
        group = placed.group.open()
        if isinstance(group, TabularGroup):
            scores = _score_tabular(group, texts)
        else:
            scores = _score_at_once(placed.group, group, texts)
        for one in scores:
            missing.pop(one.name)
            yield one
    except Exception as error:
        for name in missing:
            yield Failure(name=name, reason=reason_of(error))


def _score_at_once(
    careful: CarefulGroup, group: MemberGroup, texts: Sequence[str]
) -> Iterator[Scores]:
    start = time.perf_counter()
    tables, call_notes = careful.score(texts)
    seconds = time.perf_counter() - start
    yield from scores_of(group, tables, seconds, careful.taken, call_notes)


def scores_of(
    group: MemberGroup,
    tables: Probabilities,
    seconds: float,
    notes: tuple[str, ...],
    call_notes: tuple[str, ...] = (),
) -> Iterator[Scores]:
    """Yield what each member of a group says, by the probabilities that it gave."""
    chosen = group.decide(tables)
    for name, table in tables.items():
        yield Scores(
            name=name,
            table=table,
            chosen=chosen[name],
            seconds=seconds,
            notes=notes,
            call_notes=call_notes,
        )


def _score_tabular(group: TabularGroup, texts: Sequence[str]) -> Iterator[Scores]:
    """Yield each member's scores, on features that are computed once."""
    start = time.perf_counter()
    rows = group.members.features.transform_batch(texts)
    shared = time.perf_counter() - start
    for name, member in group.members.members.items():
        start = time.perf_counter()
        table = member.probabilities(rows, group.threads)
        chosen = member.decide(table)
        seconds = time.perf_counter() - start
        yield Scores(name=name, table=table, chosen=chosen, seconds=seconds, shared_seconds=shared)
        shared = 0.0


def is_refusal(error: Exception) -> bool:
    """Return whether the caller must mend something: a damaged file, a device that is not there.

    A plan whose engine is not installed drops out as other failures do.
    """
    from ivme.errors import PlanError

    return isinstance(error, UsageError) and not isinstance(error, PlanError)


def reason_of(error: Exception) -> str:
    """Return a failure's first line, with its kind where that is not one of ours."""
    from ivme.errors import IvmeError

    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, IvmeError) else f"{type(error).__name__}: {first}"
