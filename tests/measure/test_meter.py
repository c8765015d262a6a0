import itertools
from collections.abc import Iterable

import pytest
from allocations import MIB, fresh_pages

from ivme.errors import UsageError
from ivme.measure.meter import PerformanceMeter
from ivme.measure.summary import format_seconds
from ivme.measure.utilization import available_cores


class ScriptedClock:
    """A clock that moves by what the work under it says; counts how often it is read."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.reads = 0

    def rest(self) -> None:
        """Nothing spins here."""

    def now(self) -> float:
        self.reads += 1
        return self.now_s

    def time(self, run) -> float:
        start_s = self.now()
        run()
        return self.now() - start_s

    def takes(self, seconds: Iterable[float]):
        script = iter(seconds)

        def run() -> None:
            self.now_s += next(script)

        return run


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


def meter_on(clock: ScriptedClock, **settings) -> PerformanceMeter:
    return PerformanceMeter("bert", clock=clock, processor_clock=lambda: clock.now_s, **settings)


def test_load_first_call_warm_up_and_steady_state_are_kept_apart(clock):
    meter = meter_on(clock, warmup_calls=2)
    with meter.loading():
        clock.now_s += 4.0
    run = clock.takes([9.0, 3.0, 2.0, 0.1, 0.2, 0.3])
    for _ in range(6):
        with meter.call():
            run()
    found = meter.measurement()
    assert found.samples_s["load"] == (4.0,)
    assert found.samples_s["first_call"] == (9.0,)
    assert found.samples_s["warmup"] == (3.0, 2.0)
    assert found.samples_s["latency"] == pytest.approx((0.1, 0.2, 0.3))
    assert found.samples_s["process_time"] == pytest.approx((0.1, 0.2, 0.3))
    assert found.label == "bert"


def test_the_summary_has_every_figure(clock):
    meter = meter_on(
        clock,
        items_per_call=8,
        tokens_per_call=1024,
        flops_per_call=1e9,
        ceiling_flops=20e9,
    )
    with meter.loading():
        clock.now_s += 4.0
    meter.measure(clock.takes([9.0, 1.0, 1.0, 1.0, *[0.1] * 9, 0.5]), calls=10)
    found = meter.summary()
    assert (found.load_s, found.first_call_s) == (4.0, 9.0)
    assert found.latency_s.median == pytest.approx(0.1)
    assert found.latency_s.minimum == pytest.approx(0.1)
    assert 0.1 <= found.latency_s.p90 < found.latency_s.p99 < 0.5
    assert found.latency_interval_s[0] <= found.latency_s.median <= found.latency_interval_s[1]
    assert found.items_per_s == pytest.approx(80 / 1.4)  # all items over all time
    assert found.tokens_per_s == pytest.approx(10240 / 1.4)
    assert found.ceiling_fraction == pytest.approx(0.5)
    # Processor and wall time move alike under this clock: one core of those available is busy.
    assert found.processor_utilization == pytest.approx(1 / available_cores())
    assert found.peak_memory_bytes >= 0
    assert found.cuda_peak_memory_bytes is None


def test_the_summary_reads_as_a_table(clock):
    meter = meter_on(clock, items_per_call=8, tokens_per_call=1024)
    with meter.loading():
        clock.now_s += 4.0
    meter.measure(clock.takes([9.0, 1.0, 1.0, 1.0, *[0.0125] * 10]), calls=10)
    lines = str(meter.summary()).splitlines()
    assert lines[0] == "bert"
    assert lines[1] == "  load                   4.00 s"
    assert lines[2] == "  first call             9.00 s"
    assert lines[3].startswith("  latency of 10 calls    median 12.5 ms (95%: 12.5 ms to 12.5 ms),")
    assert lines[4] == "  items                  640.0 per second"
    assert lines[5] == "  tokens                 81,920.0 per second"
    assert lines[6].startswith("  processor utilization  ")
    assert lines[7].startswith("  peak memory            ")
    assert len(lines) == 8


def test_seconds_have_three_digits_and_a_unit_that_fits():
    shown = [format_seconds(one) for one in (123.4, 1.0, 0.02397, 0.0125, 1.787e-6, 2e-8)]
    assert shown == ["123 s", "1.00 s", "24.0 ms", "12.5 ms", "1.79 µs", "0.02 µs"]


def test_a_meter_that_ran_nothing_has_no_figures():
    found = PerformanceMeter("bert").summary()
    assert found.latency_s is found.load_s is found.items_per_s is found.peak_memory_bytes is None
    assert str(found) == "bert"


def test_a_number_of_calls_counts_steady_state_alone(clock):
    meter = meter_on(clock, warmup_calls=2)
    meter.measure(clock.takes(itertools.repeat(0.1)), calls=4)
    assert len(meter.measurement().samples_s["latency"]) == 4
    meter.measure(clock.takes(itertools.repeat(0.1)), calls=3)
    assert len(meter.measurement().samples_s["latency"]) == 7


def test_a_budget_covers_warm_up_too_and_leaves_one_steady_call(clock):
    meter = meter_on(clock)
    meter.measure(clock.takes(itertools.repeat(0.25)), budget_s=2.5)
    assert len(meter.measurement().samples_s["latency"]) == 6
    slow = meter_on(clock)
    slow.measure(clock.takes(itertools.repeat(10.0)), budget_s=1)
    assert len(slow.measurement().samples_s["latency"]) == 1


@pytest.mark.parametrize("limits", [{}, {"calls": 0}, {"budget_s": -1.0}])
def test_a_measurement_without_a_limit_is_refused(limits, clock):
    with pytest.raises(UsageError, match=r"calls=.*, budget_s=.*; expected one or both, above 0"):
        meter_on(clock).measure(lambda: None, **limits)


def test_a_call_that_raises_is_not_counted(clock):
    meter = meter_on(clock, warmup_calls=0)

    def fail() -> None:
        clock.now_s += 7.0
        raise MemoryError("too large")

    run = clock.takes([1.0, 0.1])
    with meter.call():
        run()
    with pytest.raises(MemoryError), meter.call():
        fail()
    with meter.call():
        run()
    found = meter.measurement(failure="too large")
    assert found.samples_s["latency"] == pytest.approx((0.1,))
    assert found.failure == "too large"


def test_a_call_inside_a_call_is_refused(clock):
    meter = meter_on(clock)
    with meter.call(), pytest.raises(UsageError, match="a call inside a call"), meter.call():
        pass


def test_stages_facts_and_configuration_are_kept(clock):
    meter = meter_on(clock, configuration={"engine": "pipeline"}, ceiling_flops=1e9)
    meter.add_stage("encode", [0.1])
    meter.add_stage("encode", [0.2])
    found = meter.measurement(facts={"parameters": 7})
    assert found.samples_s == {"encode": (0.1, 0.2)}
    assert found.configuration == {"engine": "pipeline"}
    assert found.facts == {"ceiling_flops": 1e9, "parameters": 7}


def test_memory_counts_from_the_start_of_the_load():
    meter = PerformanceMeter("arrays")
    with meter.loading():
        weights = fresh_pages(64)
    with meter.call():
        fresh_pages(32)
    assert meter.summary().peak_memory_bytes == pytest.approx(96 * MIB, rel=0.05)
    assert meter.measurement().peak_memory_bytes == pytest.approx(96 * MIB, rel=0.05)
    del weights


def test_a_steady_call_reads_each_clock_twice_and_nothing_else(clock, monkeypatch):
    """What a call costs, in work rather than in seconds; benchmarks/meter_overhead.py times it."""
    import sys

    processor_reads = itertools.count()
    meter = PerformanceMeter("bert", clock=clock, processor_clock=lambda: next(processor_reads))
    meter.measure(lambda: None, calls=1)
    monkeypatch.setattr("ivme.measure.memory.resident_bytes", None)  # too slow for every call
    clock.reads, before = 0, next(processor_reads)
    entered: list[str] = []

    def count_python_calls(frame, event, _argument) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    sys.setprofile(count_python_calls)
    try:
        with meter.call():
            pass
    finally:
        sys.setprofile(None)
    assert clock.reads == 2
    assert next(processor_reads) - before - 1 == 2
    # About 0.1 µs each: call, enter, two readings of each clock, exit, the check for CUDA.
    assert len(entered) <= 10, entered
