"""The service behind the routes: loading, the cache, the queue, and one way to get answers."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio

from ivme.ensemble.result_cache import ResultCache
from ivme.errors import IvmeError
from ivme.serve.batcher import Batcher
from ivme.serve.bounds import checked_texts
from ivme.serve.configuration import ServeConfig
from ivme.serve.metrics import Metrics
from ivme.serve.problems import Problem, starting
from ivme.serve.served_model import SOON_CHARACTERS, ServedModel

FEW_TEXTS = 4  # whose tokens are counted at once: a thread takes as long as one
WAIT_SHARE = 0.5  # of a request's time, that it may be expected to spend in the queue

logger = logging.getLogger("ivme.serve")


class Service:
    """One model, what waits for it, and what is counted. For one event loop.

    on_failure: called if the model cannot be loaded at all.
    """

    def __init__(
        self,
        config: ServeConfig,
        model: ServedModel,
        on_failure: Callable[[IvmeError], None] = lambda error: None,
    ) -> None:
        self.config = config
        self.model = model
        self.metrics = Metrics()
        self.cache: ResultCache[Any] = ResultCache(config.cache_size)
        self.batcher = Batcher(
            self._run,
            slots=model.slots,
            batching=model.batching,
            max_queue=config.max_queue,
            max_wait_s=WAIT_SHARE * config.timeout_s,
            tell=self.metrics.count_batch,
        )
        self._on_failure = on_failure
        self._loading: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._threads = ThreadPoolExecutor(model.slots, thread_name_prefix="ivme-run")
        self._watch()

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered; a lazy model counts before its first one."""
        if not self.has_started:
            return self.config.lazy
        return self.model.is_ready and not self.is_loading

    @property
    def has_started(self) -> bool:
        """Whether the model is loaded, or being loaded."""
        return self._loading is not None

    @property
    def is_loading(self) -> bool:
        """Whether the model is being loaded for the first time."""
        return self._loading is not None and not self._loading.done()

    async def start(self) -> None:
        """Begin to load, unless the model is to be loaded at its first request."""
        if not self.config.lazy:
            self._load_soon()

    async def stop(self) -> None:
        """End what runs, and the model's processes."""
        self._is_stopping = True
        await asyncio.to_thread(self.model.close)
        if self._loading is not None:
            await asyncio.wait([self._loading])
        await self.batcher.drain()
        self._threads.shutdown(wait=True)

    async def be_ready(self) -> None:
        """Load a lazy model; raise a Problem while another is still being loaded."""
        if self.config.lazy:
            self._load_soon()
        if not self.is_loading:
            return  # it was ready once: `run` waits for a process that is started again
        if not self.config.lazy:
            raise starting()
        assert self._loading is not None
        await asyncio.shield(self._loading)

    async def answer(self, texts: Sequence[str]) -> list[Any]:
        """Return the model's answer to each text, in order.

        Raises:
            Problem: a bound is kept, or the model is not there.
            IvmeError: the model cannot read a text.
        """
        readable = checked_texts(texts, self.config)
        await self.be_ready()
        answers = [self.recall(text) for text in readable]
        missing = [text for text, answer in zip(readable, answers, strict=True) if answer is None]
        if missing:
            self.batcher.refuse_if_full(len(missing))  # before their tokens are counted
            found = iter(await self.batcher.answer(missing, await self._tokens(missing)))
            answers = [next(found) if answer is None else answer for answer in answers]
        for text, answer in zip(readable, answers, strict=True):
            self._log(text, answer)
        return answers

    def recall(self, text: str) -> Any | None:
        """Return the answer that was kept for a text, None if there is none; it is counted."""
        answer = self.cache.get(self._key(text))
        counter = self.metrics.cache_misses if answer is None else self.metrics.cache_hits
        counter.inc()
        return answer

    def remember(self, text: str, answer: Any) -> None:
        """Keep an answer for later, unless it is an error or lacks a member."""
        if not isinstance(answer, Exception) and getattr(answer, "is_complete", True):
            self.cache.put(self._key(text), answer)

    async def call(self, function: Callable[[], Any]) -> Any:
        """Return what a blocking function returns, run in a thread of the model's own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def stream(
        self, text: str, run: Callable[[Callable[[Any], None], Callable[[], bool]], Any]
    ) -> AsyncGenerator[Any]:
        """Yield what `run` tells of a text, part by part, then what it returns; it runs alone.

        run: blocks; gets the function to tell with, and one that says whether anyone still listens.
        """
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        left = threading.Event()

        def put(kind: str, value: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the model
                loop.call_soon_threadsafe(parts.put_nowait, (kind, value))

        def work() -> None:
            try:
                value = run(lambda part: put("part", part), lambda: not left.is_set())
            except Exception as error:
                put("error", error)
            else:
                put("end", value)

        async with self.batcher.alone(self.model.estimate.tokens(text)):
            work_done = loop.run_in_executor(self._threads, work)
            try:
                kind = "part"
                while kind == "part":
                    kind, value = await parts.get()
                    if kind == "error":
                        raise value
                    if kind == "end":
                        self._log(text, value)
                    yield value
            finally:
                left.set()
                await outlast(work_done)

    def _key(self, text: str) -> bytes:
        return self.cache.key(text.encode())

    def _log(self, text: str, answer: Any) -> None:
        if self.config.log_texts:
            logger.info("text %r: %s", text, answer)

    async def _tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text; of many, in a thread: other requests go on meanwhile."""

        def count() -> list[int]:
            return [self.model.estimate.tokens(text) for text in texts]

        return count() if len(texts) <= FEW_TEXTS else await asyncio.to_thread(count)

    def _load_soon(self) -> None:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        def load() -> None:
            self.model.start()
            self.model.wait_until_ready()

        try:
            await asyncio.to_thread(load)
        except Exception as error:
            if not self._is_stopping:
                self._on_failure(_failure_of(error))

    async def _run(self, texts: Sequence[str]) -> list[Any]:
        """Return the answer to each text, and remember it, whether or not anyone still waits."""
        answers = await self._ask(texts)
        for text, answer in zip(texts, answers, strict=True):
            self.remember(text, answer)
        return answers

    async def _ask(self, texts: Sequence[str]) -> list[Any]:
        if len(texts) == 1 and len(texts[0]) <= SOON_CHARACTERS:
            answer = await self.model.answer_soon(texts[0])
            if answer is not None:
                return [answer]
        return await self.call(lambda: self.model.run(texts))

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("ivme_queue_texts", "Texts that wait.", lambda: self.batcher.waiting)
        watch("ivme_running_texts", "Texts that run.", lambda: self.batcher.running)
        watch("ivme_cache_entries", "Answers remembered.", lambda: self.cache.stats.size)
        watch("ivme_ready", "1 while texts can be answered.", lambda: self.is_ready)
        self.metrics.watch_model(self.model)


async def outlast(work: "asyncio.Future[None]") -> None:
    """Wait for the thread to end, even if this task is cancelled meanwhile; then be cancelled.

    The scope keeps out a task group that was cancelled around us: it would cancel this task again
    at each turn of the loop for as long as the thread takes.
    """
    was_cancelled = False
    with anyio.CancelScope(shield=True):
        while not work.done():
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                was_cancelled = True
    if was_cancelled:
        raise asyncio.CancelledError


def _failure_of(error: Exception) -> IvmeError:
    if isinstance(error, IvmeError):
        return error
    return IvmeError(f"the model cannot be loaded ({type(error).__name__}: {error})")


def as_problem(error: Exception) -> Problem:
    """Return what a client is told about an error of the model."""
    from ivme.errors import OutOfMemoryError, WorkloadError
    from ivme.serve.problems import member_down
    from ivme.serve.supervision import MemberDownError

    if isinstance(error, Problem):
        return error
    if isinstance(error, MemberDownError):
        return member_down(str(error))
    if isinstance(error, OutOfMemoryError):
        return Problem(503, "out_of_memory", str(error), retry_after_s=5)
    if isinstance(error, WorkloadError):
        return Problem(422, "unreadable_text", str(error))
    return Problem(503, "model_failed", str(error), retry_after_s=5)
