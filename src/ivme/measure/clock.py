"""Clocks: the one place where time is read.

Everything that measures takes a clock, so that scheduling and statistics are tested with a
scripted one in milliseconds.
"""

import time
from collections.abc import Callable
from typing import Protocol

REST_S = 0.003  # OpenMP's threads spin for up to two milliseconds after a parallel region


class Clock(Protocol):
    """A source of time in seconds."""

    def now(self) -> float:
        """Return seconds since an arbitrary start; never goes backwards."""
        ...

    def time(self, run: Callable[[], object]) -> float:
        """Return the seconds that one call of `run` took."""
        ...

    def rest(self) -> None:
        """Wait until the threads of what ran last no longer spin on a core that the next needs."""
        ...


class SystemClock:
    """The monotonic clock of this machine."""

    def now(self) -> float:
        """Return seconds since an arbitrary start."""
        return time.perf_counter()

    def time(self, run: Callable[[], object]) -> float:
        """Return the seconds that one call of `run` took."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def rest(self) -> None:
        """Sleep for REST_S."""
        time.sleep(REST_S)
