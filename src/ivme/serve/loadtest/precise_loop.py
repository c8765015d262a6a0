"""An event loop that wakes when it was asked to, not up to a millisecond later."""

import asyncio
import select
import selectors
from typing import Any

if hasattr(selectors, "EpollSelector"):

    class PreciseSelector(selectors.EpollSelector):
        """Waits in select(2), in microseconds; epoll_wait(2) counts in milliseconds."""

        def select(self, timeout: float | None = None) -> list[Any]:
            """Return what is ready, after at most `timeout` seconds."""
            is_due = timeout is not None and timeout <= 0
            if is_due or select.select([self.fileno()], [], [], timeout)[0]:
                return super().select(0)
            return []

    def precise_loop() -> asyncio.AbstractEventLoop:
        """Return a new event loop with precise timers."""
        return asyncio.SelectorEventLoop(PreciseSelector())

else:

    def precise_loop() -> asyncio.AbstractEventLoop:
        """Return a new event loop; here its own timers are precise."""
        return asyncio.SelectorEventLoop()
