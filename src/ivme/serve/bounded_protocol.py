"""A connection in HTTP/1.1: uvicorn's on httptools, with bounds on heads and on what rests."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ivme.serve.door import Door, asks_the_model
from ivme.serve.problems import Problem
from ivme.serve.security import SECURITY_HEADERS

HEADER_TIMEOUT_S = 10.0  # from a connection to its first request
MAX_HEADER_BYTES = 32 * 1024
SMALL_BODY_BYTES = 64 * 1024
SECURITY_LINES = b"".join(b"\r\n%s: %s" % pair for pair in SECURITY_HEADERS) + b"\r\n\r\n"


class HeadTooLargeError(Exception):
    """A request's line and headers take more bytes than are read."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that must send a whole request head soon, and a small one.

    There are only so many at a time. While the queue is full, requests of a usual size are refused
    from here, in a third of the time that it takes to call the application: what refusing costs
    is taken from the models.
    """

    max_connections = 1000
    door: Door | None = None  # None: the application refuses, as where it adds headers to it
    _refusal: Problem | None = None  # of the request whose body is on its way
    _was_refused = False  # a request whose end came with the newest bytes
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = False  # the head of a request has begun and is not whole
    _head_bytes = 0  # of it, as parsed
    _unparsed_bytes = 0  # that came since it began, less those that it began with

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request's head, or turn away one too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._turn_away(
                Problem(
                    503,
                    "too_many_connections",
                    f"{self.max_connections} connections are open already; try again in 1 s",
                    retry_after_s=1,
                ),
                is_last=True,
            )
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of an unfinished head do not extend its time."""
        if self.transport.is_closing():
            return
        was_in_head = self._is_in_head
        self._was_refused = False
        self._feed(data)
        if self.transport.is_closing():
            return
        if was_in_head and self._is_in_head:  # a header without end reaches no callback
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > MAX_HEADER_BYTES:
                self.send_400_response("")
        if self._is_between_requests and not self._was_refused:
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
        if self.parser.should_upgrade():
            return
        self._refusal = self._find_refusal()
        if self._refusal is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; of a request that is refused it is let go."""
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if self.parser.should_upgrade():
            return
        if self._refusal is None:
            super().on_message_complete()
            return
        refusal, self._refusal = self._refusal, None
        self._was_refused = True
        self._turn_away(refusal, is_last=not self.parser.should_keep_alive())
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in the one format of all errors."""
        self._turn_away(
            Problem(
                400,
                "bad_request",
                f"this is no HTTP request, or its headers take more than {MAX_HEADER_BYTES} bytes",
            ),
            is_last=True,
        )

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _find_refusal(self) -> Problem | None:
        """Return why the request whose head came is refused from here, if it is."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        method = self.parser.get_method().decode("ascii")
        if self.door is None or not asks_the_model(method, path) or not self._is_between_requests:
            return None
        headers = dict(self.headers)
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or int(size) > SMALL_BODY_BYTES or b"expect" in headers:
            return None
        try:
            self.door.check(method, path, headers)
        except Problem as problem:
            if problem.status != HTTPStatus.TOO_MANY_REQUESTS:
                return None
            self.door.count_refusal(problem)
            self.door.count_request(path, problem.status, 0.0)
            return problem
        return None

    def _turn_away(self, problem: Problem, *, is_last: bool) -> None:
        body = json.dumps(problem.body).encode()
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
        for name, text in self.server_state.default_headers:  # the date
            lines.append(f"{name.decode()}: {text.decode()}")
        lines += [f"{name.lower()}: {value}" for name, value in problem.headers.items()]
        lines += ["connection: close"] if is_last else []
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
        self.transport.write("\r\n".join(lines).encode() + SECURITY_LINES + body)
        if is_last:
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
