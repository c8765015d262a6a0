"""Dynamic batching: texts of many requests run together, and a lone one never waits.

While the model is idle a text runs at once. While it is busy texts wait; when it is free, all that
wait are cut into batches of like length, and the one with the oldest runs. The model may cut it
again, by tokens that it counts itself: few large batches leave it that choice, and handing them
over costs little.
Knows nothing of HTTP or of models: it awaits a `run` that takes texts and returns their answers.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ivme.engines.batching import Batching, make_batches
from ivme.measure.clock import Clock, SystemClock
from ivme.serve.problems import queue_full

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Run = Callable[[Sequence[str]], Awaitable[Sequence[Any]]]
WINDOW = 256  # of the oldest texts, that batches are made of: cutting them takes 1.5 ms
RECENT = 0.2  # weight of the newest batch in the seconds that a text takes


@dataclass(eq=False, kw_only=True, slots=True)
class Entry:
    """A text that waits or runs; an entry without text waits for the model itself."""

    text: str | None
    tokens: int
    future: "asyncio.Future[Any]"
    queued_at_s: float
    started_at_s: float = math.nan  # NaN: it waits


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What a batch was and took, for those who count."""

    texts: int
    tokens: int  # as estimated, padding counted
    waited_s: tuple[float, ...]  # of each text
    run_s: float


class Batcher:
    """The queue of one model.

    run: answers texts; an answer that is an exception is raised to the one who asked. slots: calls
    of it at a time. batching: which texts share a batch; each call gets as many batches as it has
    streams. max_queue: texts that may wait. max_wait_s: that they may be expected to: what would be
    answered too late is refused at once. tell: called after each batch.
    """

    def __init__(
        self,
        run: Run,
        *,
        slots: int,
        batching: Batching,
        max_queue: int,
        max_wait_s: float = math.inf,
        tell: Callable[[BatchReport], None] = lambda report: None,
        clock: Clock | None = None,
    ) -> None:
        self.max_queue = max_queue
        self.running = 0  # texts
        self._run = run
        self._slots = self._free = slots
        self._batching = batching
        self._max_wait_s = max_wait_s
        self._tell = tell
        self._clock = clock or SystemClock()
        self._waiting: dict[int, Entry] = {}  # in the order of arrival, by identity
        self._tasks: set[asyncio.Task[None]] = set()
        self._text_s = 0.0  # from one answer to the next while busy, lately

    @property
    def waiting(self) -> int:
        """The texts that wait."""
        return len(self._waiting)

    @property
    def expected_wait_s(self) -> float:
        """Seconds until what waits now will have run."""
        return self._text_s * self.waiting

    def refuse_if_full(self, texts: int = 1) -> None:
        """Raise a Problem if so many more texts may not wait now."""
        is_late = self.waiting > 0 and self.expected_wait_s > self._max_wait_s
        if is_late or self.waiting + texts > self.max_queue:
            raise queue_full(self.waiting, self.max_queue, max(1, math.ceil(self.expected_wait_s)))

    async def answer(self, texts: Sequence[str], tokens: Sequence[int]) -> list[Any]:
        """Return the answer to each text, in order; cancelling frees the places of the rest.

        Raises:
            Problem: the queue is full; nothing was queued.
            Exception: what `run` said about one of the texts, or raised.
        """
        self.refuse_if_full(len(texts))
        entries = [self._add(text, count) for text, count in zip(texts, tokens, strict=True)]
        self._dispatch()
        try:
            return [await entry.future for entry in entries]
        finally:
            self._withdraw(entries)

    @asynccontextmanager
    async def alone(self, tokens: int) -> "AsyncIterator[None]":
        """Wait for a turn like a text, then hold the model: for answers that come in parts.

        tokens: of the text that it is held for.
        """
        self.refuse_if_full()
        entry = self._add(None, tokens)
        self._dispatch()
        try:
            await entry.future
            yield
        finally:
            was_running = entry.future.done() and not entry.future.cancelled()
            self._withdraw([entry])
            if was_running:
                self._release(1)
                self._note([entry], entry.started_at_s)

    async def drain(self) -> None:
        """Wait until the batches that run have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _add(self, text: str | None, tokens: int) -> Entry:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry = Entry(text=text, tokens=tokens, future=future, queued_at_s=self._clock.now())
        self._waiting[id(entry)] = entry
        return entry

    def _withdraw(self, entries: Sequence[Entry]) -> None:
        """Take back what still waits; what runs already runs on for nobody."""
        for entry in entries:
            self._waiting.pop(id(entry), None)
            if not entry.future.done():
                entry.future.cancel()
            elif not entry.future.cancelled():
                entry.future.exception()  # seen: another text of the request failed first

    def _dispatch(self) -> None:
        """Start batches while there is a free slot and something waits."""
        while self._free and self._waiting:
            batch = self._take()
            self._free -= 1
            self.running += len(batch)
            if batch[0].text is None:
                batch[0].started_at_s = self._clock.now()
                batch[0].future.set_result(None)
                continue
            task = asyncio.get_running_loop().create_task(self._run_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[Entry]:
        """Remove and return the oldest entry and those that are to run with it."""
        window = list(islice(self._waiting.values(), WINDOW))
        batch = [window[0]]
        if batch[0].text is not None and len(window) > 1:
            entries = [entry for entry in window if entry.text is not None]
            batches = make_batches([entry.tokens for entry in entries], self._batching)
            first = next(at for at, one in enumerate(batches) if 0 in one.positions)
            chosen = (batches[first:] + batches[:first])[: self._batching.streams]
            batch = [entries[at] for one in chosen for at in one.positions]
        for entry in batch:
            del self._waiting[id(entry)]
        return batch

    async def _run_batch(self, batch: list[Entry]) -> None:
        start_s = self._clock.now()
        try:
            answers = await self._run([entry.text or "" for entry in batch])
        except Exception as error:
            answers = [error] * len(batch)
        finally:
            self._release(len(batch))
        for entry, answer in zip(batch, answers, strict=True):
            _settle(entry.future, answer)
        self._note(batch, start_s)

    def _note(self, batch: list[Entry], start_s: float) -> None:
        """Learn from what has run how long a text takes, and tell of it."""
        run_s = self._clock.now() - start_s
        self._text_s += RECENT * (run_s / len(batch) / self._slots - self._text_s)
        self._tell(
            BatchReport(
                texts=len(batch),
                tokens=max(entry.tokens for entry in batch) * len(batch),
                waited_s=tuple(start_s - entry.queued_at_s for entry in batch),
                run_s=run_s,
            )
        )

    def _release(self, texts: int) -> None:
        self._free += 1
        self.running -= texts
        self._dispatch()


def _settle(future: "asyncio.Future[Any]", answer: Any) -> None:
    """Give the answer to whoever waits for it; nobody does after a timeout."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
