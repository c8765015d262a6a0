"""Requests as bytes: made beforehand, so that sending one costs the generator a copy."""

import json
import random
from collections.abc import Sequence

import ivme
from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.target import Target


class RequestBytes:
    """The requests of a load test, by number: the texts in a seeded order, again and again.

    token: of the run; with `distinct` it stands before the number, so that no text equals one of
    an earlier run, which a server may have kept the answer to.
    """

    def __init__(
        self, config: LoadConfig, target: Target, texts: Sequence[str], token: str
    ) -> None:
        self._head = _head(config, target)
        self._is_distinct = config.distinct
        self._token = token.encode()
        bodies = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
        random.Random(config.seed).shuffle(bodies)
        self._bodies = bodies
        self._requests = [self._with_head(body) for body in bodies]

    @property
    def texts(self) -> int:
        """Return how many texts there are."""
        return len(self._bodies)

    def __call__(self, number: int) -> bytes:
        """Return the request of that number."""
        if not self._is_distinct:
            return self._requests[number % len(self._requests)]
        body = self._bodies[number % len(self._bodies)]
        mark = b' (%s %d)"}' % (self._token, number)
        return self._with_head(body.removesuffix(b'"}') + mark)

    def _with_head(self, body: bytes) -> bytes:
        return b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body)


def _head(config: LoadConfig, target: Target) -> bytes:
    lines = [
        f"POST {config.path} HTTP/1.1",
        f"Host: {target.authority}",
        f"User-Agent: ivme-loadtest/{ivme.__version__}",
        "Accept: */*",
        "Content-Type: application/json",
    ]
    if config.api_key is not None:
        lines.append(f"Authorization: Bearer {config.api_key}")
    return "".join(f"{line}\r\n" for line in lines).encode()
