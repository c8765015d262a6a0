"""uvicorn with an end in order, and with bounds on headers and on idle connections."""

import asyncio
import json
import logging
import signal
from http import HTTPStatus
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ivme.serve.configuration import ServeConfig
from ivme.serve.problems import problem_body

HEADER_TIMEOUT_S = 10.0  # from a connection to its first request
KEEP_ALIVE_S = 30
MAX_HEADER_BYTES = 32 * 1024

logger = logging.getLogger("ivme.serve")


class BoundedProtocol(H11Protocol):
    """A connection that must send a whole request head soon; there are only so many at a time."""

    max_connections = 1000
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request's head, or turn away one too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._turn_away(
                503,
                "too_many_connections",
                f"{self.max_connections} connections are open already; try again in 1 s",
            )
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of an unfinished head do not extend its time."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer, too."""
        self._forget_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in the one format of all errors."""
        self._turn_away(
            400,
            "bad_request",
            f"this is no HTTP request, or its headers take more than {MAX_HEADER_BYTES} bytes",
        )

    def _turn_away(self, status: int, code: str, message: str) -> None:
        body = json.dumps(problem_body(message, code, {})).encode()
        again = "retry-after: 1\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{again}connection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class DrainingServer(uvicorn.Server):
    """A server that finishes what it accepted after a first SIGTERM or SIGINT; a second ends it."""

    def __init__(self, config: ServeConfig, app: FastAPI) -> None:
        protocol = type("Protocol", (BoundedProtocol,), {"max_connections": config.max_connections})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
                lifespan="on",
            )
        )
        self._stop_timeout_s = config.stop_timeout_s
        self._lifecycle = app.state.lifecycle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: Any = None) -> None:
        """Serve until the end."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at the second signal, stop."""
        if self._draining is not None or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self._loop.call_soon_threadsafe(self._begin_to_stop, signal.Signals(sig).name)

    def _begin_to_stop(self, name: str) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain(name))

    async def _drain(self, name: str) -> None:
        count = self._lifecycle.in_flight
        logger.info("%s: stopping; %d requests under way may finish", name, count)
        if not await self._lifecycle.drain(self._stop_timeout_s):
            logger.warning(
                "%d requests were cut off after %g s",
                self._lifecycle.in_flight,
                self._stop_timeout_s,
            )
        self.should_exit = True
