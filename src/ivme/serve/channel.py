"""Messages between the server and the processes that hold models: JSON and arrays, length first.

A message is an object and named arrays. On the wire: two lengths (of the JSON, and of all arrays),
the JSON, then the arrays' bytes in order. Nothing in a message can run code.
"""

import asyncio
import contextlib
import json
import math
import os
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LENGTHS = struct.Struct("<IQ")
TYPES = ("float32", "float64", "int64")
MAX_BYTES = 2**30  # of one message; more is no message but a mistake
READ_BYTES = 2**16  # at a time: most messages come whole


class ChannelClosed(Exception):
    """The other side is gone."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent at once: anything JSON, and arrays of TYPES by name."""

    content: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Channel:
    """One end of a connection that carries messages; for one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._timeout_s = connection.gettimeout()
        self._unread = bytearray()  # that came with what was read

    def send(
        self,
        content: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Send a message; timeout_s: for all of it, as a side that hangs reads no large one.

        Raises:
            ChannelClosed: nobody reads any more.
            TimeoutError: nobody read in time; what was sent of it spoils the channel.
        """
        arrays = arrays or {}
        shapes = [[name, one.dtype.name, one.shape] for name, one in arrays.items()]
        head = json.dumps({"content": content, "arrays": shapes}).encode()
        parts = [np.ascontiguousarray(one).tobytes() for one in arrays.values()]
        lengths = LENGTHS.pack(len(head), sum(map(len, parts)))
        with self._limited(timeout_s):
            self._socket.sendall(b"".join((lengths, head, *parts)))

    def receive(self, timeout_s: float | None = None) -> Message:
        """Return the next message; timeout_s: for each of its pieces.

        Raises:
            ChannelClosed: the other side is gone.
            TimeoutError: it said nothing in time.
        """
        with self._limited(timeout_s):
            head_bytes, array_bytes = LENGTHS.unpack(self._read(LENGTHS.size))
            if head_bytes + array_bytes > MAX_BYTES:
                raise ChannelClosed(f"a message of {head_bytes + array_bytes} bytes")
            head = json.loads(self._read(head_bytes))
            return Message(
                content=head["content"],
                arrays=_arrays(head["arrays"], self._read(array_bytes)),
            )

    async def until_pending(self, timeout_s: float) -> None:
        """Wait on the event loop until the other side has sent something, or is gone.

        Raises:
            ChannelClosed: this end is closed.
            TimeoutError: nothing came in time.
        """
        if self._unread:
            return
        loop = asyncio.get_running_loop()
        pending = asyncio.Event()
        try:
            # A descriptor of its own: one that another thread closes would never be told of.
            descriptor = os.dup(self._socket.fileno())
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        try:
            loop.add_reader(descriptor, pending.set)
            async with asyncio.timeout(timeout_s):
                await pending.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def is_pending(self) -> bool:
        """Return whether the other side has sent something that was not read yet."""
        return bool(self._unread or select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Close this end; the other one hears of it, and so does a thread that reads here."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @contextlib.contextmanager
    def _limited(self, timeout_s: float | None) -> Iterator[None]:
        """Bound what the socket does in the block; tell a lost connection as ChannelClosed."""
        try:
            if timeout_s != self._timeout_s:
                self._socket.settimeout(timeout_s)
                self._timeout_s = timeout_s
            yield
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def _read(self, size: int) -> bytearray:
        while len(self._unread) < size:
            piece = self._socket.recv(READ_BYTES)
            if not piece:
                raise ChannelClosed("the other side closed the connection")
            self._unread += piece
        content = self._unread[:size]
        del self._unread[:size]
        return content


def _arrays(shapes: list[list[Any]], content: bytearray) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name, type_name, shape in shapes:
        if type_name not in TYPES:
            raise ChannelClosed(f"an array of type {type_name!r}")
        dtype = np.dtype(type_name)
        count = math.prod(shape)
        arrays[name] = np.frombuffer(content, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
    return arrays
