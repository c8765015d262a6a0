import importlib
import sys

import pytest

from ivme.serve.loadtest import response

WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "empty": b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;name=value\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: 1\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
}


@pytest.fixture(params=["compiled", "python"])
def new_response(request):
    """Return what makes a response, of the generator in C++ and of the one in Python."""
    if request.param == "python":
        return response.Response
    if sys.platform != "linux":
        pytest.skip("compiled on Linux alone")
    return importlib.import_module("ivme.serve.loadtest._driver").Response


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_response_is_whole_at_its_last_byte_however_it_is_cut(new_response, name, size):
    content, response = WHOLE[name], new_response()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert [response.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert response.status == {"no content": 204, "interim": 503}.get(name, 200)
    assert not response.is_last


def test_the_body_is_kept_where_it_says_what_went_wrong(new_response):
    response = new_response()
    assert response.feed(WHOLE["interim"])
    assert response.body == b"busy"


def test_a_body_without_a_length_ends_with_the_connection(new_response):
    response = new_response()
    assert not response.feed(b"HTTP/1.0 200 OK\r\n\r\nhello")
    assert response.feed_end()
    assert response.is_last


def test_a_connection_that_ends_within_a_body_leaves_it_unfinished(new_response):
    response = new_response()
    assert not response.feed(WHOLE["length"][:-1])
    assert not response.feed_end()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"220 mail.example", "no head"),
        (b"HTTP/2 200\r\n\r\n", "no status line"),
        (b"HTTP/1.1 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "more came"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "no head"),
    ],
)
def test_what_is_no_http_is_an_error(new_response, content, message):
    with pytest.raises(ValueError, match=f"{message}|this is no HTTP"):
        new_response().feed(content)
