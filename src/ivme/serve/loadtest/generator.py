"""The generator in Python: sends what is due when it is due, or what waiting clients ask next.

It runs on any system and speaks TLS; compiled_generator.py takes its place where neither matters.
"""

import asyncio
import contextlib
import gc
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.pool import ConnectionPool, Exchange
from ivme.serve.loadtest.request_bytes import RequestBytes
from ivme.serve.loadtest.samples import Progress, Run
from ivme.serve.loadtest.schedule import due_moments
from ivme.serve.loadtest.target import Target

TELL_EVERY_S = 0.5
PAUSE_AFTER_FAILURE_S = 0.05  # of a waiting client that got no answer: it must not spin


class Generator:
    """One load test, from its first request to the outcome of its last."""

    def __init__(
        self,
        config: LoadConfig,
        target: Target,
        requests: RequestBytes,
        tell: Callable[[Progress], None],
    ) -> None:
        self._config = config
        self._requests = requests
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._pool = ConnectionPool(
            target, self._ended, most=config.max_connections, timeout_s=config.timeout_s
        )
        self._run = Run()
        self._due = due_moments(config) if config.rate_per_s is not None else None
        self._next = 0  # of the schedule
        self._start = 0.0  # of what counts, on the loop's clock
        self._is_over = asyncio.Event()
        self._is_sending = True
        self._counts: dict[str, int] = {}
        self._recent_s: list[float] = []

    async def run(self) -> Run:
        """Send everything, wait for the outcomes, and return them; Ctrl-C ends it early."""
        with _undisturbed(), _stopped_by_interrupt(self._loop, self._stop):
            began, busy = time.perf_counter(), time.thread_time()
            self._start = self._loop.time() + self._config.warm_up_s
            self._run.started_at_s = self._start
            self._begin()
            teller = self._loop.create_task(self._tell_now_and_then())
            teller.add_done_callback(lambda _: self._is_over.set())  # it fails, or was cancelled
            await self._is_over.wait()
            self._run.busy_share = (time.thread_time() - busy) / (time.perf_counter() - began)
            if teller.done():
                self._pool.close()
                teller.result()
            teller.cancel()
        self._run.connections = self._pool.opened
        self._run.waited = self._pool.waited
        self._pool.close()
        return self._run

    def _begin(self) -> None:
        if self._due is not None:
            self._send_due()
            return
        assert self._config.concurrency is not None
        self._loop.call_at(self._start + self._config.duration_s, self._stop_sending)
        for _ in range(self._config.concurrency):
            self._send_next()

    def _send_due(self) -> None:
        """Send every request that is due by now, and come back for the next."""
        assert self._due is not None
        while self._is_sending and self._next < len(self._due):
            due_s, now_s = self._due[self._next], self._now()
            if due_s > now_s:
                self._loop.call_at(self._start + due_s, self._send_due)
                return
            self._next += 1
            self._send(due_s, now_s)
        self._stop_sending()

    def _send_next(self) -> None:
        """Send the next request of a client that waits for its answers."""
        if self._is_sending:
            now_s = self._now()
            self._send(now_s, now_s)

    def _send(self, due_s: float, now_s: float) -> None:
        number = self._run.samples.begin(due_s, now_s)
        self._pool.submit(number, self._requests(number), self._start + due_s)

    def _ended(self, exchange: Exchange, now: float, outcome: str, body: bytes) -> None:
        """Note an outcome; a waiting client goes on."""
        start, samples = self._start, self._run.samples
        sent = math.nan if exchange.sent is None else exchange.sent - start
        samples.end(exchange.number, sent, now - start, outcome)
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        self._recent_s.append(now - start - samples.due_s[exchange.number])
        if body and outcome not in self._run.bodies:
            self._run.bodies[outcome] = body.decode(errors="replace")
        if not self._is_sending:
            self._check_over()
        elif self._due is None and outcome.isdecimal():
            self._send_next()
        elif self._due is None:
            self._loop.call_later(PAUSE_AFTER_FAILURE_S, self._send_next)

    def _stop(self) -> None:
        """End now: what has no outcome yet gets none."""
        self._run.stopped_at_s = self._now()
        self._is_sending = False
        self._is_over.set()

    def _stop_sending(self) -> None:
        self._is_sending = False
        self._check_over()

    def _check_over(self) -> None:
        if not self._pool.in_flight:
            self._is_over.set()

    def _now(self) -> float:
        return self._loop.time() - self._start

    async def _tell_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            recent_s, self._recent_s = tuple(self._recent_s), []
            self._tell(
                Progress(
                    elapsed_s=self._now(),
                    begun=len(self._run.samples.outcomes),
                    ended=dict(self._counts),
                    in_flight=self._pool.in_flight,
                    recent_s=recent_s,
                )
            )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what is there out of garbage collections: walking it would delay requests."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _stopped_by_interrupt(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], None]
) -> Iterator[None]:
    """Stop at the first Ctrl-C; a second one interrupts as ever.

    Signals reach the main thread alone; in others it is its caller's to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop_once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    loop.add_signal_handler(signal.SIGINT, stop_once)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
