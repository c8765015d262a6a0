"""Running a load test: one request to see that the route answers, then the load."""

import asyncio
import resource
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ivme.errors import UsageError
from ivme.serve.loadtest.compiled_generator import can_drive, run_compiled
from ivme.serve.loadtest.configuration import MAX_CONNECTIONS, LoadConfig
from ivme.serve.loadtest.generator import Generator
from ivme.serve.loadtest.pool import ConnectionPool, Exchange
from ivme.serve.loadtest.precise_loop import precise_loop
from ivme.serve.loadtest.request_bytes import RequestBytes
from ivme.serve.loadtest.samples import Progress, Run
from ivme.serve.loadtest.target import Target, find_target

GeneratorName = Literal["compiled", "python"]
BEFORE_ALL = -1  # number of the one request before the load
SPARE_FILES = 64  # of this process, beside connections
_REFUSALS = {
    "401": "the server wants a key: give it by --api-key or IVME_API_KEY",
    "403": "the server does not accept this key: give another by --api-key or IVME_API_KEY",
    "404": "the server has no such route: name one by --path",
    "405": "the route takes no POST: name another by --path",
}


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """A finished or interrupted load test."""

    config: LoadConfig
    target: Target
    texts: int
    token: str  # that numbered texts carry, new in each run
    first_s: float  # the one request before the load
    generator: GeneratorName
    run: Run
    notes: tuple[str, ...] = ()  # what was settled otherwise than asked for

    @property
    def is_complete(self) -> bool:
        """Return whether it ran to its end."""
        return self.run.stopped_at_s is None


def run_load(
    config: LoadConfig,
    texts: Sequence[str],
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
    in_python: bool = False,
) -> LoadResult:
    """Load a server as configured, and return what became of every request.

    texts: sent as {"text": ...} in an order that the seed settles, again and again. in_python:
    take the generator in Python though the compiled one could do it. Ctrl-C ends the run early;
    what was measured until then is returned.

    The limit on this process's open files is raised where the connections need it, and stays so.

    Raises:
        UsageError: no server answers there, the route, the key or the method is wrong, or so many
            connections as were asked for cannot be opened.
    """
    if not texts:
        raise UsageError("there are no texts to send; give one or more")
    target = find_target(config.url, allow_remote=config.allow_remote)
    connections, notes = _settle_connections(config.max_connections)
    settled = replace(config, max_connections=connections)
    token = secrets.token_hex(3)
    requests = RequestBytes(settled, target, texts, token)
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        first_s = runner.run(_first_answer(settled, target, requests(BEFORE_ALL)))
        generator: GeneratorName = "python" if in_python or not can_drive(target) else "compiled"
        if generator == "compiled":
            run = run_compiled(settled, target, requests, tell)
        else:
            run = runner.run(_run(settled, target, requests, tell))
    return LoadResult(
        config=settled,
        target=target,
        texts=requests.texts,
        token=token,
        first_s=first_s,
        generator=generator,
        run=run,
        notes=notes,
    )


async def _run(
    config: LoadConfig, target: Target, requests: RequestBytes, tell: Callable[[Progress], None]
) -> Run:
    return await Generator(config, target, requests, tell).run()


async def _first_answer(config: LoadConfig, target: Target, request: bytes) -> float:
    """Return how long one request took, in seconds.

    Raises:
        UsageError: there is no answer, or one that says that the request is wrong for all texts.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[float, str]] = loop.create_future()

    def finished(exchange: Exchange, now: float, outcome: str, body: bytes) -> None:
        answer.set_result((now, outcome))

    pool = ConnectionPool(target, finished, most=1, timeout_s=config.timeout_s)
    start = loop.time()
    try:
        pool.submit(0, request, start)
        now, outcome = await answer
    finally:
        pool.close()
    if not outcome.isdecimal():
        raise UsageError(
            f"no server answers at {target.name} ({outcome}); start one with `ivme serve`, or "
            "check host and port"
        )
    if outcome in _REFUSALS:
        raise UsageError(
            f"POST {config.path} at {target.name} is answered by {outcome}: {_REFUSALS[outcome]}"
        )
    return now - start


def _settle_connections(wanted: int) -> tuple[int, tuple[str, ...]]:
    """Return how many connections to open at most, and what to say if those are fewer.

    Raises:
        UsageError: a number that was asked for is beyond what this process may open.
    """
    needed = wanted + SPARE_FILES
    files = _files_for(needed)
    if files >= needed:
        return wanted, ()
    allowed = max(1, files - SPARE_FILES)
    if wanted != MAX_CONNECTIONS:
        raise UsageError(
            f"max_connections={wanted}; this process may open {files:,} files, enough for "
            f"{allowed:,} connections: raise that with `ulimit -n {needed}`, or ask for fewer"
        )
    note = (
        f"at most {allowed:,} connections were opened instead of {wanted:,}, for this process may "
        f"open {files:,} files; `ulimit -n {needed}` raises that"
    )
    return allowed, (note,)


def _files_for(needed: int) -> int:
    """Return how many files this process may open: those needed, or as many as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # macOS has a bound below an infinite hard limit
        return soft
    return raised
