"""Several processes that hold copies of one model: which of them answers next."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ivme.errors import IvmeError
from ivme.measure.clock import SystemClock
from ivme.serve.supervision import MemberDownError, MemberProcess


class UnwantedError(IvmeError):
    """Whoever asked for an answer went away before there was a process free for it."""


class ProcessPool:
    """Processes that hold copies of one model; a call goes to one that is ready and free."""

    def __init__(self, processes: Sequence[MemberProcess]) -> None:
        self.processes = tuple(processes)
        self._busy: set[MemberProcess] = set()
        self._is_closed = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start all; they load side by side."""
        for process in self.processes:
            process.start()

    def wait_until_ready(self) -> None:
        """Wait until each can be called or has ended once; raises IvmeError if none can."""
        wait_for_loading(self.processes)

    @property
    def is_ready(self) -> bool:
        """Whether at least one can be called."""
        return any(process.is_ready for process in self.processes)

    @property
    def down_reason(self) -> str | None:
        """Why none can be called; None if one can."""
        return None if self.is_ready else self.processes[0].down_reason

    @property
    def description(self) -> Mapping[str, Any]:
        """What the processes say of their model."""
        return next((one.description for one in self.processes if one.description), {})

    @contextmanager
    def taking(
        self, wait_s: float = 0.0, is_wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[MemberProcess]:
        """Give a process that is ready, alone, until the block ends.

        wait_s: to wait for one that is being started again; busy ones are waited for as long as
        is_wanted says so.

        Raises:
            MemberDownError: none is ready.
            UnwantedError: nobody wants one any more.
        """
        process = self._take(wait_s, is_wanted)
        try:
            yield process
        finally:
            self._give_back(process)

    @contextmanager
    def taking_idle(self) -> Iterator[MemberProcess | None]:
        """Give a process that is ready and free, alone, until the block ends; None: there is none.

        Never waits.
        """
        with self._changed:
            process = self._find_free()
            if process is not None:
                self._busy.add(process)
        try:
            yield process
        finally:
            if process is not None:
                self._give_back(process)

    def close(self) -> None:
        """End all processes; who waits for one is told that it is closed."""
        self._is_closed = True
        threads = [threading.Thread(target=process.close) for process in self.processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _take(self, wait_s: float, is_wanted: Callable[[], bool]) -> MemberProcess:
        clock = SystemClock()
        deadline_s = clock.now() + wait_s
        with self._changed:
            while True:
                process = self._find_free()
                if process is not None:
                    self._busy.add(process)
                    return process
                is_late = not self._busy and clock.now() >= deadline_s
                if is_late or self._is_closed:
                    raise MemberDownError(self.down_reason or "the model is starting")
                if not is_wanted():
                    raise UnwantedError("nobody waits for the answer any more")
                self._changed.wait(0.02)  # a process that became ready tells its own waiters alone

    def _find_free(self) -> MemberProcess | None:
        return next((one for one in self.processes if one not in self._busy and one.is_ready), None)

    def _give_back(self, process: MemberProcess) -> None:
        with self._changed:
            self._busy.discard(process)
            self._changed.notify()


def wait_for_loading(processes: Iterable[MemberProcess]) -> None:
    """Wait until each process can be called or has ended once, and so is being tried again.

    Raises:
        IvmeError: none can be called, for the reason of the first.
    """
    failures: list[IvmeError] = []
    is_one_ready = False
    for process in processes:
        try:
            process.wait_until_ready()
            is_one_ready = True
        except IvmeError as error:
            failures.append(error)
    if failures and not is_one_ready:
        raise failures[0]
