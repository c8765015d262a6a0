"""Bounds on what a request may bring: texts and their length, and the bytes of its body."""

import asyncio
from collections.abc import Iterable, Sequence

from starlette.types import Receive

from ivme.ensemble.text_normalization import without_lone_surrogates
from ivme.serve.configuration import ServeConfig
from ivme.serve.problems import (
    Problem,
    body_too_large,
    body_too_slow,
    text_too_long,
    too_many_texts,
)


class DisconnectedError(Exception):
    """The client went away before it was answered."""


def checked_texts(texts: Sequence[str], config: ServeConfig) -> list[str]:
    """Return the texts as models read them: lone surrogates become U+FFFD.

    Raises:
        Problem: no text, too many, or one that is too long.
    """
    if not texts:
        raise Problem(422, "invalid_request", "texts is empty; send one text or more")
    if len(texts) > config.max_queue:
        raise too_many_texts(len(texts), config.max_queue)
    for text in texts:
        if len(text) > config.max_characters:
            raise text_too_long(len(text), config.max_characters)
    return [without_lone_surrogates(text) for text in texts]


async def read_body(
    headers: Iterable[tuple[bytes, bytes]], receive: Receive, *, max_bytes: int, timeout_s: float
) -> bytes:
    """Return a request's body, read piece by piece: chunked ones are bounded as well.

    Raises:
        Problem: too many bytes, or they did not arrive in time.
        DisconnectedError: the client went away.
    """
    declared = dict(headers).get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise body_too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > max_bytes:
                    raise body_too_large(max_bytes)
                if not message.get("more_body", False):
                    return b"".join(pieces)
    except TimeoutError:
        raise body_too_slow(timeout_s) from None
