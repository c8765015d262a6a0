"""Stopping a run on request: a signal asks, and the run ends after the step that it is in."""

import signal
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Listens for SIGTERM and Ctrl-C while its block runs; a second Ctrl-C interrupts at once.

    with StopRequest() as stop:
        while not stop.is_made: ...
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def is_made(self) -> bool:
        """Return whether someone asked to stop."""
        return self.signal is not None

    def __enter__(self) -> Self:
        self._before = {one: signal.signal(one, self._note) for one in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
