"""Requests as bytes: made beforehand, so that sending one costs the generator a copy."""

import json
import random
from collections.abc import Sequence

import ivme
from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.target import Target

_CLOSE = b'"}'  # of a body


class RequestBytes:
    """The requests of a load test, by number: the texts in a seeded order, again and again.

    token: of the run; with `distinct` it stands before the number, so that no text equals one of
    an earlier run, which a server may have kept the answer to.

    A request is the head, its length, one of the bodies and, where they are to differ, its number
    between `mark` and `end`, which are empty otherwise.
    """

    def __init__(
        self, config: LoadConfig, target: Target, texts: Sequence[str], token: str
    ) -> None:
        bodies = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
        random.Random(config.seed).shuffle(bodies)
        self.head = _head(config, target)
        self.mark = self.end = b""
        if config.distinct:
            self.mark, self.end = b" (%s " % token.encode(), b")" + _CLOSE
        self.bodies = [body.removesuffix(_CLOSE) if self.end else body for body in bodies]
        self._requests = [] if self.end else [self._with_head(body) for body in bodies]

    @property
    def texts(self) -> int:
        """Return how many texts there are."""
        return len(self.bodies)

    def __call__(self, number: int) -> bytes:
        """Return the request of that number."""
        at = number % len(self.bodies)
        if not self.end:
            return self._requests[at]
        return self._with_head(b"%s%s%d%s" % (self.bodies[at], self.mark, number, self.end))

    def _with_head(self, body: bytes) -> bytes:
        return b"%sContent-Length: %d\r\n\r\n%s" % (self.head, len(body), body)


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
