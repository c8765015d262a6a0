"""Clients that are slow, leave, or send what is no request: the server goes on."""

import json
import os
import signal
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from servers import DEADLINE_S, Server, serving, wait_for

BODY = b'{"text": "sent by hand"}'
REFUSALS = 'ivme_refusals_total{reason="queue_full"}'
HEAD = (
    b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)
    connection.settimeout(DEADLINE_S)
    return connection


def read_all(connection: socket.socket) -> bytes:
    content = b""
    while piece := connection.recv(2**16):
        content += piece
    return content


def refusals(server: Server) -> float:
    """Return how often the queue was full; the line is not there before the first time."""
    try:
        return server.metric(REFUSALS)
    except AssertionError:
        return 0.0


def answers(server: Server) -> bool:
    answer = server.client.post("/v1/classify", json={"text": "still there?"})
    return answer.status_code == 200


@contextmanager
def stopped_model(server: Server):
    """Stop the model's process meanwhile: it is there, and does not answer."""
    [model] = server.children()
    os.kill(model, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(model, signal.SIGCONT)


def test_a_request_in_single_bytes_is_answered(classifier_server: Server):
    with connect(classifier_server) as connection:
        for byte in HEAD % len(BODY) + BODY:
            connection.sendall(bytes([byte]))
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_what_is_no_http_is_refused_in_the_one_format(classifier_server: Server):
    with connect(classifier_server) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body)["error"].startswith("this is no HTTP request")


@pytest.mark.parametrize(
    "headers",
    [b"X-Flood: " + b"x" * 2**20, b"\r\n".join(b"X-%d: x" % number for number in range(20_000))],
)
def test_a_flood_of_headers_is_refused(classifier_server: Server, headers):
    with connect(classifier_server) as connection:
        try:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n")
            answer = connection.recv(12)
        except ConnectionError:  # it was closed on what was still on its way
            answer = b"HTTP/1.1 400"
    assert answer == b"HTTP/1.1 400"
    assert answers(classifier_server)


def test_a_header_that_never_ends_is_cut_off(classifier_server: Server):
    with connect(classifier_server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Flood: ")
        sent, answer = 0, b""
        while not answer and sent < 2**23:
            try:
                sent += connection.send(b"x" * 2**12)
                connection.settimeout(0.01)
                answer = connection.recv(12)
            except TimeoutError:
                connection.settimeout(DEADLINE_S)
            except ConnectionError:  # it was closed on what was still on its way
                answer = b"HTTP/1.1 400"
    assert answer == b"HTTP/1.1 400"


def test_headers_just_within_the_bound_are_read(classifier_server: Server):
    with connect(classifier_server) as connection:
        headers = b"\r\n".join(b"X-%d: %s" % (number, b"x" * 900) for number in range(30))
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_client_that_offers_http_2_is_answered_in_http_1(classifier_server: Server):
    head = (HEAD % len(BODY))[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connect(classifier_server) as connection:
        for _ in range(2):
            connection.sendall(head + BODY)
            answer = connection.recv(2**16)
            while not answer.endswith(b"}}"):
                answer += connection.recv(2**16)
            assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_server_is_no_proxy(classifier_server: Server):
    with connect(classifier_server) as connection:
        connection.sendall(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_clients_that_leave_in_the_middle_do_no_harm(classifier_server: Server):
    for cut in (0, 10, 60, len(HEAD) + 5):
        with connect(classifier_server) as connection:
            connection.sendall((HEAD % len(BODY) + BODY)[:cut])
    assert answers(classifier_server)
    wait_for(lambda: classifier_server.metric("ivme_running_texts") == 0)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(classifier_server: Server):
    with connect(classifier_server) as connection:
        connection.sendall(HEAD % 10**9)
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_requests_in_a_row_on_one_connection_are_all_answered(classifier_server: Server):
    with connect(classifier_server) as connection:
        connection.sendall((HEAD % len(BODY) + BODY) * 3)
        found = part = b" "
        while part and found.count(b"HTTP/1.1 200 OK") < 3:
            found += (part := connection.recv(2**16))
        assert found.count(b"HTTP/1.1 200 OK") == 3


@pytest.fixture(scope="module")
def narrow_server(classifier_folder: Path):
    """A server of two places, one second a request, and four connections."""
    arguments = ("--max-queue", "2", "--timeout", "1", "--max-connections", "4")
    with serving(classifier_folder, *arguments, "--cache-size", "0") as server:
        yield server


def test_a_body_that_does_not_come_is_refused_after_its_time(narrow_server: Server):
    with connect(narrow_server) as connection:
        connection.sendall(HEAD % len(BODY) + BODY[:5])
        assert b"408" in connection.recv(12)


def test_one_connection_too_many_is_turned_away(narrow_server: Server):
    narrow_server.client.close()
    narrow_server.client = httpx.Client(base_url=narrow_server.url, timeout=DEADLINE_S)
    held = []
    try:
        for _ in range(4):
            connection = connect(narrow_server)
            held.append(connection)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        with connect(narrow_server) as connection:
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in head
        assert json.loads(body)["code"] == "too_many_connections"
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: answers(narrow_server))


def test_an_overloaded_server_refuses_at_once_and_names_the_time(classifier_folder: Path):
    with (
        serving(classifier_folder, "--max-queue", "2", "--cache-size", "0") as server,
        httpx.Client(base_url=server.url, timeout=DEADLINE_S) as other,
        ExitStack() as connections,
    ):
        with stopped_model(server):
            held = []
            for number in range(4):  # one runs, one is next, two wait
                held.append(connections.enter_context(connect(server)))
                held[-1].sendall(HEAD % len(BODY) + BODY)
                wait_for(
                    lambda expected=number: (
                        server.metric("ivme_running_texts") + server.metric("ivme_queue_texts")
                        == expected + 1
                    )
                )
            with connect(server) as connection:  # again and again on one connection, in a row
                connection.sendall((HEAD % len(BODY) + BODY) * 2)
                wait_for(lambda: refusals(server) == 2)
                connection.sendall((HEAD % (len(BODY) + 2)) + BODY)
                connection.sendall(b"  ")  # the last bytes of a body come later
                wait_for(lambda: refusals(server) == 3)
                connection.shutdown(socket.SHUT_WR)
                assert read_all(connection).count(b"HTTP/1.1 429 Too Many Requests") == 3
            for text in ("one too many", "x" * 100_000):  # small, or with a body that takes time
                refused = other.post("/v1/classify", json={"text": text})
                assert refused.status_code == 429
                assert refused.json()["code"] == "queue_full"
                assert int(refused.headers["retry-after"]) >= 1
                assert refused.headers["x-content-type-options"] == "nosniff"
                assert "date" in refused.headers
            held[-1].close()  # whoever leaves frees a place
            wait_for(lambda: server.metric("ivme_queue_texts") == 1)
        for connection in held[:-1]:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        assert refusals(server) == 5
        assert other.post("/v1/classify", json={"text": "room again"}).status_code == 200
