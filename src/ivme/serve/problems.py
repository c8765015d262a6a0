"""Answers that say no: one body for every error, and the statuses that go with them.

{"error": "a sentence for a person", "code": "for_programs", "detail": {...}}
"""

from collections.abc import Mapping
from typing import Any

CODES = {  # where the framework gives only a status
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
}


class Problem(Exception):
    """A refusal or a failure that a client is told about."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        **detail: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.detail = detail

    @property
    def body(self) -> dict[str, Any]:
        """The answer as JSON."""
        return problem_body(self.message, self.code, self.detail)

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, where that helps; of 401, how to bring a key."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def problem_body(message: str, code: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one body of all errors."""
    return {"error": message, "code": code, "detail": dict(detail)}


def queue_full(waiting: int, limit: int, retry_after_s: int) -> Problem:
    """The texts that wait and those of the request are more than may wait."""
    return Problem(
        429,
        "queue_full",
        f"the queue is full: {waiting} texts wait (at most {limit}, and only as long as they "
        f"can be answered in time); try again in {retry_after_s} s",
        retry_after_s=retry_after_s,
        waiting=waiting,
        max_queue=limit,
    )


def too_many_texts(count: int, limit: int) -> Problem:
    """One request brings more texts than ever may wait."""
    return Problem(
        413,
        "too_many_texts",
        f"{count} texts in one request; send at most {limit}, or start the server with a larger "
        "--max-queue",
        texts=count,
        max_texts=limit,
    )


def text_too_long(characters: int, limit: int) -> Problem:
    """A text has more characters than the server reads."""
    return Problem(
        413,
        "text_too_long",
        f"a text has {characters:,} characters; this server reads up to {limit:,}: shorten it",
        characters=characters,
        max_characters=limit,
    )


def body_too_large(limit: int) -> Problem:
    """The request's body has more bytes than the server reads."""
    return Problem(
        413,
        "body_too_large",
        f"the request has more than {limit:,} bytes; send fewer or shorter texts",
        max_body_bytes=limit,
    )


def timed_out(timeout_s: float) -> Problem:
    """No answer within the time that a request has."""
    return Problem(
        504,
        "timeout",
        f"no answer within {timeout_s:g} s; send a shorter text, or try again later",
        timeout_s=timeout_s,
    )


def body_too_slow(timeout_s: float) -> Problem:
    """The client did not send its body within the time that a request has."""
    return Problem(
        408,
        "body_timeout",
        f"the request's body did not arrive within {timeout_s:g} s",
        timeout_s=timeout_s,
    )


def stopping() -> Problem:
    """The server finishes what it has accepted, and takes nothing new."""
    return Problem(503, "stopping", "this server is stopping; try another", retry_after_s=5)


def starting() -> Problem:
    """The model is not loaded yet."""
    return Problem(503, "starting", "the model is being loaded; try again soon", retry_after_s=2)


def member_down(reason: str) -> Problem:
    """Nothing is left that could answer, until it has started again."""
    return Problem(503, "model_down", f"{reason}; try again soon", retry_after_s=2)


def internal_error() -> Problem:
    """A mistake of ours."""
    return Problem(500, "internal_error", "the server failed; its log says where")


def unauthorized() -> Problem:
    """No API key, or a wrong one."""
    return Problem(
        401,
        "unauthorized",
        "this server asks for a key; send it as Authorization: Bearer KEY or X-API-Key: KEY",
    )
