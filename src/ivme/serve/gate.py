"""The gate in front of the application: keys, a stop, the queue and the body, before any parsing.

Plain ASGI. A request that cannot be served is refused here, in well under a millisecond and
without reading its body. One that can has its body read within bounds, a time limit, and ends when
its client goes away.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ivme.errors import IvmeError
from ivme.serve.bounds import DisconnectedError, read_body
from ivme.serve.door import Door, asks_the_model
from ivme.serve.predict_route import Endpoint
from ivme.serve.problems import Problem, internal_error, stopping, timed_out
from ivme.serve.security import SECURITY_HEADERS
from ivme.serve.service import Service, as_problem

TIMEOUT = "ivme.timeout"  # in the scope: the asyncio.Timeout of a request
LINGER_S = 2.0  # that a refused body is still read for, so that the refusal arrives
LINGER_BYTES = 64 * 2**20

logger = logging.getLogger("ivme.serve")


class Gate:
    """The application behind its bounds.

    endpoints: by path, of requests that need nothing of the application: they are called from here.
    What lies between, routes and handlers of errors, takes 0.3 ms of a lone request.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        door: Door,
        endpoints: Mapping[str, Endpoint] | None = None,
    ) -> None:
        self.app = app
        self.endpoints = endpoints or {}
        self.service = service
        self.config = service.config
        self.door = door
        self.lifecycle = door.lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        start_s = asyncio.get_running_loop().time()
        try:
            with self.lifecycle.request():
                await self._serve(exchange)
        except Problem as problem:
            self.door.count_refusal(problem)
            await exchange.refuse(problem)
        except DisconnectedError:
            exchange.status = 499  # as nginx counts them: nobody was there to be answered
        except asyncio.CancelledError:  # by the end of the server alone
            await exchange.refuse(stopping())
        except Exception:
            if exchange.status:  # the answer has begun: only its end can tell that it is not whole
                raise
            logger.exception("the server failed at %s %s", scope["method"], scope["path"])
            await exchange.refuse(internal_error())
        finally:
            duration_s = asyncio.get_running_loop().time() - start_s
            self.door.count_request(scope["path"], exchange.status, duration_s)

    async def _serve(self, exchange: "Exchange") -> None:
        scope = exchange.scope
        method, path = scope["method"], scope["path"]
        exchange.is_last = self.lifecycle.is_stopping and asks_the_model(method, path)
        self.door.check(method, path, dict(scope["headers"]))
        if asks_the_model(method, path):
            await self._serve_bounded(exchange)
        else:
            await self.app(scope, exchange.receive, exchange.send)

    async def _serve_bounded(self, exchange: "Exchange") -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        body = await self._read(exchange)
        self.service.metrics.latency["read"].observe(loop.time() - start_s)
        limit = asyncio.timeout_at(start_s + self.config.timeout_s)
        exchange.scope[TIMEOUT] = limit
        try:
            async with limit, exchange.until_disconnect(body) as receive:
                await self._answer(exchange.scope, receive, exchange.send)
        except TimeoutError:
            raise timed_out(self.config.timeout_s) from None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get(scope["path"])
        if endpoint is None:
            await self.app(_untyped(scope), receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive))
        except IvmeError as error:
            raise as_problem(error) from error
        await response(scope, receive, send)

    async def _read(self, exchange: "Exchange") -> bytes:
        try:
            return await read_body(
                exchange.scope["headers"],
                exchange.receive,
                max_bytes=self.config.max_body_bytes,
                timeout_s=self.config.timeout_s,
            )
        except Problem:
            exchange.is_last = True  # what is left of the body would be read as the next request
            raise


class Exchange:
    """A request and what was answered to it until now."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.status = 0
        self.is_answered = False  # whole; what the server then says of the client means nothing
        self.is_last = False  # of its connection
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            added = [pair for pair in SECURITY_HEADERS if pair[0] not in present]
            if self.is_last:
                added.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *added]}
        elif not message.get("more_body", False):
            self.is_answered = True
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless the answer has begun."""
        if self.status:
            return
        body = json.dumps(problem.body).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **problem.headers,
        }
        await self.send(
            {"type": "http.response.start", "status": problem.status, "headers": _raw(headers)}
        )
        await self.send({"type": "http.response.body", "body": body, "more_body": self.is_last})
        if self.is_last:
            await self._linger()
            await self.send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Read on for a while: closing on unread bytes resets the connection, answer and all."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while size < LINGER_BYTES:
                    message = await self.receive()
                    size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return

    @contextlib.asynccontextmanager
    async def until_disconnect(self, body: bytes) -> Any:
        """Give a `receive` that yields the body; the block is cancelled if the client goes away.

        Raises:
            DisconnectedError: it went away.
        """
        gone = asyncio.Event()
        block = asyncio.current_task()
        assert block is not None

        async def watch() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if not is_over and not self.is_answered:
                block.cancel()

        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if pending:
                return pending.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        is_over = False
        watcher = asyncio.create_task(watch())
        try:
            yield receive
        except asyncio.CancelledError:
            if not gone.is_set() or block.uncancel() > 0:
                raise
            raise DisconnectedError from None
        finally:
            is_over = True
            watcher.cancel()


def _untyped(scope: Scope) -> Scope:
    """Return the scope of a request whose body says nothing of its type.

    These routes take JSON alone, and read it whatever it is called: `curl -d` says form.
    """
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
    return {**scope, "headers": headers}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
