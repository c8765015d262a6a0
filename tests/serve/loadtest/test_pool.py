"""Connections of the generator in Python, to a server that has no room for them at first."""

import asyncio
import errno
import os
import socket
import ssl
import sys

import pytest

from ivme.serve.loadtest.compiled_generator import _NO_CONNECTION, _name_of
from ivme.serve.loadtest.pool import TIMED_OUT, ConnectionPool, Exchange, _connect_outcome
from ivme.serve.loadtest.target import Target

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = b"POST / HTTP/1.1\r\n\r\n"


class Answering(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(ANSWER)


async def outcomes_of_two(listener: socket.socket, filler: socket.socket) -> list[str]:
    """Return what became of a request that cannot connect, and of one that waits for it to end."""
    loop = asyncio.get_running_loop()
    outcomes: list[str] = []
    is_over = asyncio.Event()
    serving: list[asyncio.Task[asyncio.Server]] = []

    def finished(exchange: Exchange, now: float, outcome: str, body: bytes) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 2:
            is_over.set()
            return
        filler.close()
        listener.accept()[0].close()
        serving.append(loop.create_task(loop.create_server(Answering, sock=listener)))

    port = listener.getsockname()[1]
    target = Target(scheme="http", host="127.0.0.1", port=port, addresses=("127.0.0.1",))
    pool = ConnectionPool(target, finished, most=1, timeout_s=5)
    pool.submit(0, REQUEST, loop.time() - 4.8)
    pool.submit(1, REQUEST, loop.time())
    await is_over.wait()
    pool.close()
    (await serving[0]).close()
    return outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue makes Linux ignore connections")
def test_a_request_that_waits_is_sent_once_a_connection_that_never_came_is_given_up():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler = socket.create_connection(listener.getsockname())
        assert asyncio.run(outcomes_of_two(listener, filler)) == [TIMED_OUT, "200"]


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMFILE])
def test_both_generators_name_a_failure_to_connect_alike(number: int):
    error = OSError(number, "Connect call failed ('192.0.2.1', 80)")
    assert _connect_outcome(error) == f"no connection: {os.strerror(number)}"
    assert _connect_outcome(error) == _name_of(_NO_CONNECTION - number)


def test_a_failure_of_tls_keeps_its_own_words():
    error = ssl.SSLError(1, "[SSL] wrong version number")
    assert _connect_outcome(error) == "no connection: [SSL] wrong version number"
