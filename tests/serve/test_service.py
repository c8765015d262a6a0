"""The service on its own: what it does beside asking the model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.middleware.cors import CORSMiddleware

from ivme.engines.batching import Batching
from ivme.serve.configuration import ServeConfig
from ivme.serve.door import Door
from ivme.serve.gate import Gate
from ivme.serve.lifecycle import Lifecycle
from ivme.serve.problems import Problem
from ivme.serve.served_model import SOON_CHARACTERS
from ivme.serve.service import FEW_TEXTS, Service, outlast

TURNS = 100


def test_outlasting_a_thread_in_a_cancelled_group_takes_no_turn_of_the_loop():
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        work: asyncio.Future[None] = loop.create_future()

        def turn(left: int) -> None:
            if left:
                loop.call_soon(turn, left - 1)
            else:
                work.set_result(None)

        async def stay() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                await outlast(work)
                cancellations.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]

        async with anyio.create_task_group() as group:
            group.start_soon(stay)
            await asyncio.sleep(0)
            group.cancel_scope.cancel()
            turn(TURNS)

    cancellations: list[int] = []
    asyncio.run(scenario())
    assert cancellations == [1]


class CountingModel:
    """Answers in capitals, and counts whose tokens it was asked for."""

    kind = "classifier"
    slots = 1
    batching = Batching(batch_size=64, max_batch_tokens=100, order="sorted")
    tokens_read = 0
    is_ready = True

    def __init__(self) -> None:
        self.estimate = self
        self.counted = 0
        self.loop_was_free = True
        self.is_idle = False

    def tokens(self, text: str) -> int:
        self.counted += 1
        try:
            asyncio.get_running_loop()
            self.loop_was_free = False
        except RuntimeError:
            pass
        return 10

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        pass

    def start(self) -> None:
        pass

    def wait_until_ready(self) -> None:
        pass

    async def answer_soon(self, text: str) -> Any | None:
        return f"soon {text}" if self.is_idle else None

    def run(self, texts: Sequence[str]) -> list[Any]:
        return [text.upper() for text in texts]

    def members_down(self) -> dict[str, str]:
        return {}

    def member_restarts(self) -> dict[str, int]:
        return {}

    def info(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


@asynccontextmanager
async def service_of(model: CountingModel, **settings: Any) -> AsyncIterator[Service]:
    """Give a service that is ready."""
    service = Service(ServeConfig(folder=Path("none"), **settings), model)
    await service.start()
    while not service.is_ready:
        await asyncio.sleep(0.001)
    yield service
    await service.stop()


def test_many_texts_are_refused_before_their_tokens_are_counted():
    async def scenario() -> None:
        model = CountingModel()
        async with service_of(model, max_queue=8) as service:
            async with service.batcher.alone(1):  # the model is busy
                waiting = asyncio.create_task(service.answer(["first", "second"]))
                while service.batcher.waiting < 2:
                    await asyncio.sleep(0)
                before = model.counted
                with pytest.raises(Problem, match="the queue is full"):
                    await service.answer([f"text {number}" for number in range(8)])
                assert model.counted == before == 2
            assert await waiting == ["FIRST", "SECOND"]
            model.loop_was_free = True
            many = [f"text {number}" for number in range(FEW_TEXTS + 1)]
            assert await service.answer(many) == [text.upper() for text in many]
            assert model.loop_was_free

    asyncio.run(scenario())


def test_a_lone_short_text_is_asked_for_on_the_loop_where_the_model_is_idle():
    async def scenario() -> None:
        model = CountingModel()
        async with service_of(model, cache_size=0) as service:
            assert await service.answer(["a"]) == ["A"]
            model.is_idle = True
            assert await service.answer(["a"]) == ["soon a"]
            assert await service.answer(["a", "b"]) == ["A", "B"]
            long = "a" * (SOON_CHARACTERS + 1)
            assert await service.answer([long]) == [long.upper()]

    asyncio.run(scenario())


def test_a_mistake_of_ours_is_told_with_the_headers_that_all_answers_have():
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("a mistake")

    async def scenario() -> None:
        service = Service(ServeConfig(folder=Path("none")), CountingModel())
        origin = "https://pages.example"
        app = CORSMiddleware(
            Gate(fail, service, Door(service, Lifecycle())), allow_origins=[origin]
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ivme") as client:
            answer = await client.get("/health", headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["access-control-allow-origin"] == origin

    asyncio.run(scenario())
