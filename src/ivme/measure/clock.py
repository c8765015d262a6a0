"""Clocks: the one place where time is read.

Everything that measures takes a clock, so that scheduling and statistics are tested with a
scripted one in milliseconds.
"""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """A source of time in seconds."""

    def now(self) -> float:
        """Return seconds since an arbitrary start; never goes backwards."""
        ...

    def time(self, run: Callable[[], object]) -> float:
        """Return the seconds that one call of `run` took."""
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
