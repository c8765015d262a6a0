"""What benchmarks/serving.py takes for the cost of sending a load."""

import contextlib
import importlib
from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

TEXTS = [f"text number {number} with a few words" for number in range(20)]
ARGUMENTS = Namespace(clients=2, round_s=0.2, overload_s=0.2, rounds=1)
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, where a summary takes this process an hour and all else no time."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("serving")
    clock, summarize = SimpleNamespace(now_s=0.0), module.summarize

    def summarize_for_an_hour(result):
        clock.now_s += 3600.0
        return summarize(result)

    monkeypatch.setattr(module, "summarize", summarize_for_an_hour)
    monkeypatch.setattr(module.time, "process_time", lambda: clock.now_s)
    return module


@pytest.fixture
def server(serve) -> SimpleNamespace:
    """A server that is slow enough for a few requests to saturate it."""
    port = int(serve("slow", 0.02).url.rpartition(":")[2])
    return SimpleNamespace(
        port=port,
        path="/predict",
        processor_s=lambda: {"server": 0.0},
        memory_bytes=lambda: 1,
    )


def test_the_summary_is_no_part_of_what_a_text_takes(benchmark, server):
    found, parts_ms = benchmark.saturate_watched(ARGUMENTS, TEXTS, server)
    assert found.answered > 0
    assert parts_ms == {"generator": 0.0, "server": 0.0}


def test_the_share_of_the_generator_is_that_of_its_run(benchmark, server, monkeypatch):
    monkeypatch.setattr(benchmark, "server_of", lambda arguments: contextlib.nullcontext(server))
    found = benchmark.overload(ARGUMENTS, TEXTS)
    [one] = found["rounds"]
    assert one["answered"] > 0
    assert 0 < one["generator_share"] <= 1 / benchmark.usable_cores()
    assert one["of_peak"] == pytest.approx(2 * one["goodput_per_s"] / sum(found["peaks_per_s"]))
    assert one["of_peak_without_generator"] > 0
