from collections.abc import Sequence
from threading import Barrier, Lock

import numpy as np
import pytest

from ivme.engines.batching import Batching, predict_all
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.engines.registry import get_engine
from ivme.engines.streams import SessionPool, prepare_streams
from ivme.errors import UsageError
from ivme.models.loading import LoadedModel


class MeetingSession:
    """Answers only when as many calls run as the barrier waits for; fails if two use it at once."""

    precision = "float32"
    notes = ("met",)

    def __init__(self, barrier: Barrier) -> None:
        self.barrier, self.lock, self.is_closed = barrier, Lock(), False

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        assert self.lock.acquire(blocking=False), "two calls share a session"
        try:
            self.barrier.wait(timeout=30)
            if "bad" in texts:
                raise ValueError("a bad text")
            return [Prediction(text=text) for text in texts]
        finally:
            self.lock.release()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def close(self) -> None:
        self.is_closed = True


def test_two_streams_run_two_batches_at_a_time_and_keep_the_order() -> None:
    barrier = Barrier(2)
    pool = SessionPool([MeetingSession(barrier), MeetingSession(barrier)])
    texts = [str(number) * (number % 3 + 1) for number in range(8)]
    batching = Batching(batch_size=2, order="sorted", streams=2)
    predictions = predict_all(pool, texts, batching)

    assert [prediction.text for prediction in predictions] == texts
    assert (pool.streams, pool.precision, pool.notes) == (2, "float32", ("met",))


def test_a_failed_batch_is_raised_and_frees_its_session() -> None:
    pool = SessionPool([MeetingSession(Barrier(1)), MeetingSession(Barrier(1))])
    for _ in range(3):
        with pytest.raises(ValueError, match="a bad text"):
            predict_all(pool, ["a", "bad", "c"], Batching(streams=2))

    assert predict_all(pool, ["a"], Batching(streams=2))[0].text == "a"


def test_a_closed_pool_refuses_calls_and_may_be_closed_again() -> None:
    sessions = [MeetingSession(Barrier(1)), MeetingSession(Barrier(1))]
    pool = SessionPool(sessions)
    pool.close()
    pool.close()

    assert all(session.is_closed for session in sessions)
    with pytest.raises(UsageError, match="the model was closed before this call"):
        pool.predict(["a"])


def test_streams_of_a_model_answer_as_one_session_does(
    models: dict[str, LoadedModel], texts: tuple[str, ...]
) -> None:
    engine, model, options = get_engine("transformers"), models["classifier"], EngineOptions()
    many = [f"{text} {number}" for number in range(6) for text in texts]
    expected = predict_all(engine.prepare(model, options), many, Batching())
    pool = prepare_streams(engine, model, options, 3)
    found = predict_all(pool, many, Batching(batch_size=2, streams=3))

    for one, other in zip(expected, found, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)
