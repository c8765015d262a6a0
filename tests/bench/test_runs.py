"""Runs: figures of a GPU are of all rounds, of the GPU that ran them, with the weights counted."""

import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ivme.bench.cases import make_case
from ivme.bench.place import settle_place
from ivme.bench.runs import LEAST_CALLS, WARMUP_CALLS, MeasurePlan, measure_case
from ivme.engines.batching import Batching
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.measure import utilization
from ivme.measure.clock import SystemClock
from ivme.measure.memory import HeldMemory
from ivme.models.loading import load_model


class PlantedDriver:
    """NVIDIA's library as far as it is asked: the second GPU is half busy."""

    NVMLError = RuntimeError

    def __init__(self):
        self.asked_for = []
        self.was_sampled = threading.Event()

    def nvmlInit(self):
        pass

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self.asked_for.append(uuid)
        return uuid

    def nvmlDeviceGetUtilizationRates(self, device):
        self.was_sampled.set()
        return SimpleNamespace(gpu=50)


@pytest.fixture
def driver(monkeypatch):
    planted = PlantedDriver()
    monkeypatch.setitem(sys.modules, "pynvml", planted)
    monkeypatch.setattr(utilization, "GPU_SAMPLING_PERIOD_S", 1e-3)
    return planted


def test_gpu_figures_are_of_all_rounds_on_its_own_gpu_with_the_weights(planted_cuda, driver):
    model = load_model("preset:bert-tiny")
    session = get_engine("transformers").prepare(model, EngineOptions())
    case = make_case(["a text"], Batching(batch_size=1), session, None)
    predict, calls = session.predict, []

    def predict_until_sampled(texts, stages=None):
        calls.append(texts)
        if len(calls) == 1 + WARMUP_CALLS + LEAST_CALLS:
            assert driver.was_sampled.wait(timeout=60)
        return predict(texts, stages)

    session.predict = predict_until_sampled
    measurement = measure_case(
        "label",
        replace(model, device="cuda:1"),
        "transformers",
        session,
        case,
        settle_place(1, lambda text: None, lambda text: None),
        MeasurePlan(
            budget_s=1e-9,
            new_tokens=1,
            held_before=HeldMemory(resident_bytes=0, cuda_bytes=2),
        ),
        SystemClock(),
    )

    assert len(measurement.samples_s["latency"]) == LEAST_CALLS
    assert driver.asked_for == ["GPU-second"]
    assert measurement.gpu_utilization == 0.5
    assert measurement.cuda_peak_memory_bytes == 3 + 7
