"""From start to stop: which requests are under way, and whether new ones are taken."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """The requests under way; for one event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is under way."""
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new, and wait for what is under way; return whether all of it ended."""
        self.is_stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
