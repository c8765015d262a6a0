"""The batcher on its own: what runs at once, what waits, and what runs together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ivme.engines.batching import Batching
from ivme.serve.batcher import Batcher
from ivme.serve.problems import Problem


@dataclass
class Model:
    """Answers a batch when it is told to, with the texts in capitals."""

    batches: list[list[str]] = field(default_factory=list)
    gates: list[asyncio.Event] = field(default_factory=list)

    async def run(self, texts: Sequence[str]) -> list[Any]:
        self.batches.append(list(texts))
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return [ValueError(text) if text.startswith("bad") else text.upper() for text in texts]

    def finish(self, number: int) -> None:
        self.gates[number].set()


@dataclass
class ScriptedClock:
    """Says what it is told."""

    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds


async def turn() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def batcher_of(model: Model, **changes: Any) -> Batcher:
    batching = Batching(
        batch_size=64, max_batch_tokens=changes.pop("max_tokens", 100), order="sorted"
    )
    return Batcher(model.run, **{"slots": 1, "batching": batching, "max_queue": 8, **changes})


def ask(batcher: Batcher, *texts: str, tokens: int = 10) -> "asyncio.Task[list[Any]]":
    return asyncio.create_task(batcher.answer(texts, [tokens] * len(texts)))


def test_a_lone_text_runs_at_once():
    async def scenario() -> None:
        model = Model()
        asked = ask(batcher_of(model), "one")
        await turn()
        assert model.batches == [["one"]]
        model.finish(0)
        assert await asked == ["ONE"]

    asyncio.run(scenario())


def test_texts_that_come_while_the_model_is_busy_run_together():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        asked = [ask(batcher, text) for text in ("one", "two", "three")]
        await turn()
        assert model.batches == [["one"]]
        assert batcher.waiting == 2
        model.finish(0)
        await turn()
        assert model.batches == [["one"], ["two", "three"]]
        model.finish(1)
        assert [await one for one in asked] == [["ONE"], ["TWO"], ["THREE"]]

    asyncio.run(scenario())


def test_a_batch_holds_no_more_padded_tokens_than_its_budget():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        ask(batcher, "busy")
        await turn()
        waiting = [ask(batcher, f"text {number}", tokens=40) for number in range(3)]
        await turn()
        model.finish(0)
        await turn()
        assert "text 0" in model.batches[1]
        model.finish(1)
        await turn()
        model.finish(2)
        await asyncio.gather(*waiting)
        assert sorted(map(len, model.batches[1:])) == [1, 2]

    asyncio.run(scenario())


def test_a_text_longer_than_the_budget_runs_alone():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        ask(batcher, "busy")
        await turn()
        waiting = [ask(batcher, "long", tokens=500), ask(batcher, "short")]
        await turn()
        model.finish(0)
        await turn()
        assert model.batches[1] == ["long"]
        model.finish(1)
        await turn()
        model.finish(2)
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_the_oldest_text_takes_along_those_nearest_to_it_in_length():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model, max_tokens=40)
        ask(batcher, "busy")
        await turn()
        lengths = {"oldest": 20, "far": 5, "near": 19}
        waiting = [ask(batcher, text, tokens=tokens) for text, tokens in lengths.items()]
        await turn()
        model.finish(0)
        await turn()
        assert model.batches[1] == ["oldest", "near"]
        model.finish(1)
        await turn()
        model.finish(2)
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_each_slot_runs_a_batch():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model, slots=2)
        asked = [ask(batcher, "one"), ask(batcher, "two")]
        await turn()
        assert model.batches == [["one"], ["two"]]
        model.finish(0)
        model.finish(1)
        await asyncio.gather(*asked)

    asyncio.run(scenario())


def test_a_cancelled_text_never_runs_and_frees_its_place():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model, max_queue=1)
        first = ask(batcher, "one")
        await turn()
        unwanted = ask(batcher, "unwanted")
        await turn()
        unwanted.cancel()
        await turn()
        assert batcher.waiting == 0
        wanted = ask(batcher, "wanted")
        await turn()
        model.finish(0)
        await turn()
        model.finish(1)
        await asyncio.gather(first, wanted)
        assert model.batches == [["one"], ["wanted"]]

    asyncio.run(scenario())


def test_the_answer_to_a_cancelled_text_that_runs_already_is_dropped():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        unwanted = ask(batcher, "unwanted")
        await turn()
        unwanted.cancel()
        await turn()
        model.finish(0)
        await turn()
        assert batcher.running == 0
        asked = ask(batcher, "next")
        await turn()
        model.finish(1)
        assert await asked == ["NEXT"]

    asyncio.run(scenario())


def test_more_texts_than_may_wait_are_refused_with_a_time_to_try_again():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model, max_queue=2)
        first = ask(batcher, "one")
        await turn()
        second = ask(batcher, "two", "three")
        await turn()
        with pytest.raises(Problem, match="the queue is full: 2 texts wait") as refused:
            await ask(batcher, "four")
        assert refused.value.status == 429
        assert refused.value.headers == {"Retry-After": "1"}
        model.finish(0)
        await turn()
        model.finish(1)
        await asyncio.gather(first, second)

    asyncio.run(scenario())


def test_a_request_of_several_texts_is_queued_whole_or_not_at_all():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model, max_queue=2)
        first = ask(batcher, "one")
        await turn()
        with pytest.raises(Problem, match="the queue is full"):
            await ask(batcher, "a", "b", "c")
        assert batcher.waiting == 0
        model.finish(0)
        assert await first == ["ONE"]

    asyncio.run(scenario())


def test_what_would_be_answered_too_late_is_refused_at_once():
    async def scenario() -> None:
        model, clock = Model(), ScriptedClock()
        batcher = batcher_of(model, max_wait_s=1.0, clock=clock)
        first = ask(batcher, "slow")
        await turn()
        clock.seconds = 100.0
        model.finish(0)
        await first
        running = ask(batcher, "runs")
        await turn()
        waiting = ask(batcher, "waits")
        await turn()
        with pytest.raises(Problem, match="try again in 20 s"):
            await ask(batcher, "too late")
        model.finish(1)
        await turn()
        model.finish(2)
        await asyncio.gather(running, waiting)

    asyncio.run(scenario())


def test_a_text_that_cannot_be_answered_spoils_no_other():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        ask(batcher, "busy")
        await turn()
        bad, good = ask(batcher, "bad"), ask(batcher, "good")
        await turn()
        model.finish(0)
        await turn()
        assert model.batches[1] == ["bad", "good"]
        model.finish(1)
        assert await good == ["GOOD"]
        with pytest.raises(ValueError, match="bad"):
            await bad

    asyncio.run(scenario())


def test_who_has_the_model_alone_waits_for_a_turn_and_holds_up_others():
    async def scenario() -> None:
        model, told = Model(), []
        batcher = batcher_of(model)
        left = asyncio.Event()

        async def alone() -> None:
            async with batcher.alone(10):
                told.append("alone")
                await left.wait()

        first = ask(batcher, "one")
        await turn()
        holder = asyncio.create_task(alone())
        await turn()
        after = ask(batcher, "after")
        await turn()
        assert told == []
        model.finish(0)
        await turn()
        assert told == ["alone"]
        assert model.batches == [["one"]]
        left.set()
        await turn()
        assert model.batches == [["one"], ["after"]]
        model.finish(1)
        await asyncio.gather(first, holder, after)

    asyncio.run(scenario())


def test_who_gives_up_waiting_to_be_alone_frees_the_place():
    async def scenario() -> None:
        model = Model()
        batcher = batcher_of(model)
        first = ask(batcher, "one")
        await turn()

        async def alone() -> None:
            async with batcher.alone(10):
                pytest.fail("had the model")

        holder = asyncio.create_task(alone())
        await turn()
        holder.cancel()
        await turn()
        assert batcher.waiting == 0
        model.finish(0)
        assert await first == ["ONE"]
        again = ask(batcher, "again")
        await turn()
        model.finish(1)
        assert await again == ["AGAIN"]

    asyncio.run(scenario())


def test_who_has_the_model_alone_teaches_how_long_texts_take_and_is_counted():
    async def scenario() -> None:
        clock, reports = ScriptedClock(), []
        batcher = batcher_of(Model(), max_wait_s=1.0, clock=clock, tell=reports.append)

        async def alone(seconds: float) -> None:
            async with batcher.alone(10):
                await asyncio.sleep(0)
                clock.seconds += seconds

        await alone(100.0)
        assert [(one.texts, one.tokens, one.run_s) for one in reports] == [(1, 10, 100.0)]
        running, waiting = (asyncio.create_task(alone(0)) for _ in range(2))
        await asyncio.sleep(0)
        assert batcher.expected_wait_s == 20.0
        with pytest.raises(Problem, match="try again in 20 s"):
            batcher.refuse_if_full()
        await asyncio.gather(running, waiting)

    asyncio.run(scenario())
