"""uvicorn with an end in order, and with bounds on headers and on idle connections."""

import asyncio
import json
import logging
import signal
from http import HTTPStatus
from types import FrameType
from typing import Any

import httptools
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ivme.serve.configuration import ServeConfig
from ivme.serve.problems import problem_body

HEADER_TIMEOUT_S = 10.0  # from a connection to its first request
KEEP_ALIVE_S = 30
MAX_HEADER_BYTES = 32 * 1024

logger = logging.getLogger("ivme.serve")


class HeadTooLargeError(Exception):
    """A request's line and headers take more bytes than are read."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that must send a whole request head soon, and a small one.

    There are only so many at a time.
    """

    max_connections = 1000
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = False  # the head of a request has begun and is not whole
    _head_bytes = 0  # of it, as parsed
    _unparsed_bytes = 0  # that came since it began, less those that it began with

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
        was_in_head = self._is_in_head
        self._feed(data)
        if self.transport.is_closing():
            return
        if was_in_head and self._is_in_head:  # a header without end reaches no callback
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > MAX_HEADER_BYTES:
                self.send_400_response("")
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer, too."""
        self._forget_head()
        super().connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_in_http_1(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _go_on_in_http_1(self, rest: bytes) -> None:
        """Read a request that offers another protocol as one that does not: none is spoken here.

        The parser has stopped after its head, so that a new one reads it again, without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        names = (b"upgrade", b"http2-settings", b"connection")
        lines = [b"%s %s HTTP/1.1" % (method, self.url)]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] not in names]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes, self._unparsed_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request line."""
        self._take_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._take_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_in_head = False
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

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

    def _take_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEADER_BYTES:
            raise HeadTooLargeError  # the parser gives up, and 400 is answered

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
                proxy_headers=False,  # nothing here asks who the client is
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
