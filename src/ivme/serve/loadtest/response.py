"""Responses of HTTP/1.1: where one ends, and its status. Bodies are counted, not kept."""

MOST_HEAD_BYTES = 65_536
KEPT_BODY_BYTES = 400  # of an answer that is no success: what the server says of it


class BadResponseError(ValueError):
    """What came is no response of HTTP/1.1."""


class Response:
    """Reads one response from whatever pieces it comes in."""

    __slots__ = ("_chunks", "_head", "_left", "body", "is_last", "status")

    def __init__(self) -> None:
        self.status = 0  # until the head was read
        self.is_last = False  # the server will close the connection after it
        self.body = b""
        self._head = b""
        self._left: int | None = None  # bytes of the body still to come; None: until the end
        self._chunks: _Chunks | None = None

    def feed(self, data: bytes) -> bool:
        """Take what came; return whether the response is whole.

        Raises:
            BadResponseError: this is not HTTP/1.1, or more came than was announced.
        """
        if not self.status:
            data = self._read_head(data)
            if not self.status:
                return False
        if self.status >= 300 and len(self.body) < KEPT_BODY_BYTES:
            self.body = (self.body + data)[:KEPT_BODY_BYTES]
        if self._chunks is not None:
            return self._chunks.feed(data)
        if self._left is None:
            return False
        self._left -= len(data)
        if self._left < 0:
            raise BadResponseError("more came than Content-Length announced")
        return self._left == 0

    def feed_end(self) -> bool:
        """Take that the connection ended; return whether that completes the response."""
        return bool(self.status) and self._left is None and self._chunks is None

    def _read_head(self, data: bytes) -> bytes:
        """Read the head if it is whole by now, and return what came after it."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > MOST_HEAD_BYTES or not b"HTTP/1.".startswith(self._head[:7]):
                raise BadResponseError("no head of HTTP/1.1")
            return b""
        status = head[9:12]
        if head[:8] not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit():
            raise BadResponseError("no status line of HTTP/1.1")
        if status[:1] == b"1":  # an interim response, such as 103; the real one follows
            self._head = b""
            return self._read_head(rest)
        self.status = int(status)
        self._read_headers(head.lower() + b"\r\n", is_old=head[:8] == b"HTTP/1.0")
        return rest

    def _read_headers(self, head: bytes, *, is_old: bool) -> None:
        connection = _header(head, b"connection")
        self.is_last = b"close" in connection or (is_old and b"keep-alive" not in connection)
        if self.status in (204, 304):
            self._left = 0
        elif b"chunked" in _header(head, b"transfer-encoding"):
            self._chunks = _Chunks()
        elif length := _header(head, b"content-length"):
            if not length.isdigit():
                raise BadResponseError("Content-Length is no number")
            self._left = int(length)
        else:
            self.is_last = True


class _Chunks:
    """Finds the end of a chunked body."""

    __slots__ = ("_is_trailer", "_left", "_line")

    def __init__(self) -> None:
        self._line = b""  # the part of a size or trailer line that came
        self._left = 0  # bytes of the chunk still to come, its line end counted
        self._is_trailer = False

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body; return whether it ended."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            line, end, _ = data[at:].partition(b"\n")
            at += len(line) + len(end)
            self._line += line
            if not end:
                break
            line, self._line = self._line.strip(), b""
            if self._is_trailer and not line:
                return True
            if not self._is_trailer:
                self._read_size(line)
        if len(self._line) > MOST_HEAD_BYTES:
            raise BadResponseError("an endless line in a chunked body")
        return False

    def _read_size(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise BadResponseError("the size of a chunk is no number") from error
        self._is_trailer = size == 0
        self._left = size + 2 if size else 0


def _header(head: bytes, name: bytes) -> bytes:
    """Return the value of a header from a head in lower case; empty if it has none."""
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else b""
