"""A test double of the server's wire format: the page's routes with scripted answers.

It stands in for the real application in tests of the page alone: what it sends is what a test put
into its script, held back where a test wants to look in between. No model runs here.
"""

import asyncio
import json
import queue
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from ivme.serve.page_files import page_routes

HOLD = "hold"
"""In a script: send nothing more until `release()`."""
CUT = "cut"
"""In a script: break the connection here."""

INFO = {
    "kind": "ensemble",
    "labels": [{"label": "0", "name": "AI"}, {"label": "1", "name": "Human"}],
    "members": ["BERT", "RoBERTa", "DRF", "GBM", "GLM"],
    "least_words": 50,
    "max_characters": 100_000,
    "version": "0.1.0",
    "auth_required": False,
}
MEMBERS = (
    {"name": "DRF", "prediction": 1, "label": "Human", "confidence": 0.58, "duration_ms": 1.9},
    {"name": "GBM", "prediction": 0, "label": "AI", "confidence": 0.74, "duration_ms": 2.1},
    {"name": "GLM", "prediction": 0, "label": "AI", "confidence": 0.81, "duration_ms": 1.2},
    {"name": "BERT", "prediction": 0, "label": "AI", "confidence": 0.97, "duration_ms": 18.4},
    {"name": "RoBERTa", "prediction": 0, "label": "AI", "confidence": 0.91, "duration_ms": 21.7},
)
VERDICT = {
    "prediction": 0,
    "label": "AI",
    "confidence": 0.86,
    "vote_count": 4,
    "total_models": 5,
    "probability": {"0": 0.93, "1": 0.07},
    "calibrated": True,
    "too_short": False,
    "least_words": 50,
    "duration_ms": 22.4,
    "cached": False,
}
START = ("start", {"members": INFO["members"], "words": 80})
DONE = ("done", {"duration_ms": 24.6})
SHARES_OF_AI = (0.95, 0.81, 0.64, 0.52, 0.22, 0.08)
LONG_TEXT = (
    "A detector reads this sentence first. It then reads another one, somewhat longer than the "
    "first. A third follows! Is the fourth a question? The fifth is plain. The last one ends it. "
) * 3


def utf16_length(text: str) -> int:
    """Return the length of the text as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2


def score_sentences(text: str) -> tuple[str, dict[str, Any]]:
    """Return the event that scores each sentence of the text, shares taken in turns."""
    sentences = []
    for index, match in enumerate(re.finditer(r"[^\s.!?][^.!?]*[.!?]*", text)):
        share = SHARES_OF_AI[index % len(SHARES_OF_AI)]
        start = utf16_length(text[: match.start()])
        sentences.append(
            {
                "start": start,
                "end": start + utf16_length(match.group()),
                "probability": {"0": share, "1": round(1 - share, 2)},
            }
        )
    return "sentences", {"sentences": sentences}


def whole_script(text: str) -> list[Any]:
    """Return the events of an analysis in which all goes well."""
    members = [("member", member) for member in MEMBERS]
    return [START, *members, ("ensemble", VERDICT), score_sentences(text), DONE]


def encode_event(event: str, data: Mapping[str, Any]) -> str:
    """Return the event as it goes over the wire."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


class WireDouble:
    """What the page talks to, and what it received. `address` is where it listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what one test set up and received."""
        self.info: dict[str, Any] = dict(INFO)
        self.script: Sequence[Any] | None = None  # None: whole_script of the text
        self.refusals: list[JSONResponse] = []  # sent first, one for each request
        self.classification: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []
        self.ends: queue.Queue[str] = queue.Queue()  # "finished" or "canceled", one a stream
        self._gate = asyncio.Event()

    def release(self) -> None:
        """Let a script go on past its HOLD."""
        assert self._loop is not None, "nothing was requested yet"
        self._loop.call_soon_threadsafe(self._gate.set)

    def refuse(self, status: int, code: str, error: str, retry_after: str | None = None) -> None:
        """Answer the next request with an error."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        body = {"error": error, "code": code, "detail": {}}
        self.refusals.append(JSONResponse(body, status, headers))

    def app(self) -> FastAPI:
        """Return the application."""
        app = FastAPI()
        app.include_router(page_routes())
        app.add_api_route("/v1/info", self._info)
        app.add_api_route("/v1/analyze", self._analyze, methods=["POST"], response_model=None)
        app.add_api_route("/v1/classify", self._classify, methods=["POST"], response_model=None)
        return app

    async def _info(self) -> dict[str, Any]:
        return self.info

    async def _analyze(self, request: Request) -> JSONResponse | StreamingResponse:
        text = await self._note(request)
        if self.refusals:
            return self.refusals.pop(0)
        script = whole_script(text) if self.script is None else self.script
        return StreamingResponse(self._play(script), media_type="text/event-stream")

    async def _classify(self, request: Request) -> JSONResponse:
        await self._note(request)
        return self.refusals.pop(0) if self.refusals else JSONResponse(self.classification)

    async def _note(self, request: Request) -> str:
        self._loop = asyncio.get_running_loop()
        body = await request.json()
        self.requests.append({"headers": dict(request.headers), "body": body})
        return body["text"]

    async def _play(self, script: Sequence[Any]) -> AsyncIterator[str]:
        end = "canceled"
        try:
            for step in script:
                if step == HOLD:
                    await self._gate.wait()
                    self._gate.clear()
                elif step == CUT:
                    raise ConnectionAbortedError("the script says so")
                else:
                    yield encode_event(*step)
            end = "finished"
        finally:
            self.ends.put(end)


@contextmanager
def serve_double() -> Iterator[WireDouble]:
    """Run a double in a thread, on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    double = WireDouble(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    config = uvicorn.Config(double.app(), log_config=None, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    # The socket listens already: whoever connects early waits instead of failing.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield double
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
