"""Server-sent events: named, each with JSON, over one answer that stays open."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ivme.errors import IvmeError
from ivme.serve.gate import TIMEOUT
from ivme.serve.problems import Problem, timed_out
from ivme.serve.service import as_problem

Event = tuple[str, Mapping[str, Any]]


class EventResponse(StreamingResponse):
    """An answer whose events end with it, however it ends."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        self._events = events
        super().__init__(
            events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def event_response(events: AsyncGenerator[Event], scope: Scope, timeout_s: float) -> EventResponse:
    """Return the events as an answer; an error, or the end of the time, is the last event."""
    return EventResponse(_encoded(events, scope, timeout_s))


async def _encoded(
    events: AsyncGenerator[Event], scope: Scope, timeout_s: float
) -> AsyncGenerator[bytes]:
    limit: asyncio.Timeout = scope[TIMEOUT]
    deadline_s = limit.when()
    limit.reschedule(None)  # the gate could only cut the answer off
    try:
        async with asyncio.timeout_at(deadline_s), aclosing(events):
            async for name, content in events:
                yield encode_event(name, content)
    except TimeoutError:
        yield encode_event("error", {"error": timed_out(timeout_s).body})
    except (Problem, IvmeError) as error:
        yield encode_event("error", {"error": as_problem(error).body})


def encode_event(name: str, content: Mapping[str, Any]) -> bytes:
    """Return one event as it is sent."""
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
