"""Connections: reused, opened as more are needed, up to a bound; one request at a time on each."""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Callable

from ivme.serve.loadtest.response import BadResponseError, Response
from ivme.serve.loadtest.target import Target

# Servers close connections that rest, most after 5 s or more; a request sent at that moment would
# be lost without the server being at fault.
MOST_REST_S = 2.0
SWEEP_S = 0.05  # between looks at what takes too long

REFUSED = "connection refused"
RESET = "connection reset"
UNANSWERED = "closed without an answer"
CUT = "closed within an answer"
TIMED_OUT = "timed out"
NOT_HTTP = "not HTTP/1.1"
UNREACHABLE = "no connection"


class Exchange:
    """A request on its way; `work` is what to end if it takes too long."""

    __slots__ = ("deadline", "number", "request", "sent", "work")

    def __init__(self, number: int, request: bytes, deadline: float) -> None:
        self.number = number
        self.request = request
        self.deadline = deadline
        self.sent: float | None = None  # when it was written to a connection
        self.work: asyncio.Task[None] | Connection | None = None


Finished = Callable[[Exchange, float, str, bytes], None]


class ConnectionPool:
    """Sends requests at once on a free connection, on a new one, or when one is free at last.

    finished: called with each exchange, the moment, its outcome (a status such as "200", or what
    went wrong) and the beginning of the body where that was no success.
    """

    def __init__(self, target: Target, finished: Finished, *, most: int, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._finished = finished
        self._most = most
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if target.scheme == "https" else None
        self._resting: list[Connection] = []  # the one used last is used next
        self._waiting: deque[Exchange] = deque()
        self._in_flight: dict[int, Exchange] = {}  # in the order of their deadlines
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self.opened = 0  # connections, ever
        self.open_now = 0
        self.waited = 0  # requests for which no connection was free

    @property
    def in_flight(self) -> int:
        """Return how many requests have no outcome yet."""
        return len(self._in_flight)

    def now(self) -> float:
        """Return the moment, in seconds of the event loop's clock."""
        return self._loop.time()

    def submit(self, number: int, request: bytes, due: float) -> None:
        """Send a request now, or as soon as the bound on connections allows."""
        exchange = Exchange(number, request, due + self._timeout_s)
        self._in_flight[number] = exchange
        self._serve(exchange)

    def close(self) -> None:
        """Drop every connection and every request without an outcome."""
        self._sweeper.cancel()
        for exchange in list(self._in_flight.values()):
            self._in_flight.pop(exchange.number)
            self._end_work(exchange)
        for connection in self._resting:
            connection.abort()
        self._resting.clear()
        self._waiting.clear()

    def release(self, connection: "Connection", exchange: Exchange, response: Response) -> None:
        """Take a connection back whose response is whole."""
        now = self._loop.time()
        if response.is_last:
            connection.abort()
        elif not self._serve_waiting(connection):
            connection.rests_since = now
            self._resting.append(connection)
        self._finish(exchange, now, str(response.status), response.body)

    def fail(self, exchange: Exchange, outcome: str) -> None:
        """Take that an exchange went wrong."""
        self._finish(exchange, self._loop.time(), outcome, b"")

    def lost(self, connection: "Connection") -> None:
        """Take that a connection is closed."""
        self.open_now -= 1
        if connection in self._resting:
            self._resting.remove(connection)
        self._open_for_waiting()

    def _serve(self, exchange: Exchange) -> None:
        if self._resting:
            self._resting.pop().send(exchange)
        elif self.open_now < self._most:
            self.open_now += 1
            exchange.work = self._loop.create_task(self._open(exchange))
        else:
            self.waited += 1
            self._waiting.append(exchange)

    def _serve_waiting(self, connection: "Connection") -> bool:
        while self._waiting:
            exchange = self._waiting.popleft()
            if exchange.number in self._in_flight:  # else it took too long
                connection.send(exchange)
                return True
        return False

    def _open_for_waiting(self) -> None:
        while self._waiting and self.open_now < self._most:
            exchange = self._waiting.popleft()
            if exchange.number in self._in_flight:
                self.open_now += 1
                exchange.work = self._loop.create_task(self._open(exchange))

    async def _open(self, exchange: Exchange) -> None:
        connection = Connection(self)
        try:
            await self._connect(connection)
        except OSError as error:
            self.open_now -= 1
            self.fail(exchange, _connect_outcome(error))
            self._open_for_waiting()
            return
        except asyncio.CancelledError:  # it took too long; the next may not
            self.open_now -= 1
            self._open_for_waiting()
            raise
        self.opened += 1
        connection.send(exchange)

    async def _connect(self, connection: "Connection") -> None:
        """Connect to the first address that answers.

        Raises:
            OSError: none does; the error of the last.
        """
        name = self._target.host if self._tls else None
        for place, address in enumerate(self._target.addresses, start=1):
            try:
                await self._loop.create_connection(
                    lambda: connection,
                    address,
                    self._target.port,
                    ssl=self._tls,
                    server_hostname=name,
                )
                return
            except OSError:
                if place == len(self._target.addresses):
                    raise

    def _finish(self, exchange: Exchange, now: float, outcome: str, body: bytes) -> None:
        if self._in_flight.pop(exchange.number, None) is not None:
            self._finished(exchange, now, outcome, body)

    def _sweep(self) -> None:
        """Give up requests that take too long, and close connections that rest too long."""
        now = self._loop.time()
        late = []
        for exchange in self._in_flight.values():
            if exchange.deadline > now:
                break
            late.append(exchange)
        for exchange in late:
            self._finish(exchange, now, TIMED_OUT, b"")
            self._end_work(exchange)
        for connection in [one for one in self._resting if now - one.rests_since > MOST_REST_S]:
            connection.abort()
            self._resting.remove(connection)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _end_work(self, exchange: Exchange) -> None:
        if isinstance(exchange.work, Connection):
            exchange.work.abort()
        elif exchange.work is not None:
            exchange.work.cancel()


class Connection(asyncio.Protocol):
    """One connection, and the request on it."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._response = Response()
        self._got_any = False
        self.rests_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, exchange: Exchange) -> None:
        """Write a request; the connection must be free."""
        assert self._transport is not None
        exchange.work = self
        exchange.sent = self._pool.now()
        self._exchange = exchange
        self._response = Response()
        self._got_any = False
        self._transport.write(exchange.request)

    def abort(self) -> None:
        """Close at once; what is on it gets no outcome from here."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a piece of the response."""
        exchange = self._exchange
        if exchange is None:  # nothing was asked for
            self.abort()
            return
        self._got_any = True
        try:
            is_whole = self._response.feed(data)
        except BadResponseError:
            self.abort()
            self._pool.fail(exchange, NOT_HTTP)
            return
        if is_whole:
            self._exchange = None
            self._pool.release(self, exchange, self._response)

    def connection_lost(self, error: Exception | None) -> None:
        """Settle the request on it, if any."""
        exchange, self._exchange = self._exchange, None
        self._pool.lost(self)
        if exchange is None:
            return
        if self._response.feed_end():
            self._response.is_last = True
            self._pool.release(self, exchange, self._response)
        elif self._got_any:
            self._pool.fail(exchange, CUT)
        else:
            self._pool.fail(exchange, RESET if error else UNANSWERED)


def _connect_outcome(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, ConnectionResetError):
        return RESET
    if error.errno is None or isinstance(error, ssl.SSLError):  # TLS has numbers of its own
        return f"{UNREACHABLE}: {error.strerror or error}"
    return f"{UNREACHABLE}: {os.strerror(error.errno)}"  # asyncio's words name the address
