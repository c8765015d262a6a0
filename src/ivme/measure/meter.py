"""PerformanceMeter: one configuration, measured from load to steady state."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ivme.errors import UsageError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.memory import PeakMemory, cuda_in_use
from ivme.measure.records import Measurement
from ivme.measure.statistics import median_interval, percentiles
from ivme.measure.summary import MeterSummary
from ivme.measure.utilization import GpuUtilization, available_cores, processor_utilization

# Below this an interval of the median says less than the samples themselves.
MIN_CALLS_FOR_INTERVAL = 5


class PerformanceMeter:
    """Measures load, first call, steady state, memory and utilization of one configuration.

    meter = PerformanceMeter("bert", items_per_call=8)
    with meter.loading():
        model = load()
    meter.measure(lambda: model(batch), budget_s=5)
    print(meter.summary())

    The first call is a figure of its own, the next `warmup_calls` are kept apart, all others are
    steady state. A call that raises is not counted. On CUDA a call ends when the device is done.

    Args:
        label: what the figures belong to.
        items_per_call: texts, or whatever one call works on; the mean where calls differ.
        tokens_per_call: real tokens of one call, padding left out.
        padded_tokens_per_call: the same, padding counted.
        flops_per_call: floating-point operations of one call.
        ceiling_flops: floating-point operations that the machine reaches per second at best.
        device: that the calls run on; of "cuda", torch's current GPU, or "cuda:1" the utilization
            is sampled once torch uses CUDA.
        configuration: model, engine, dtype and so on, kept with the measurement.
        warmup_calls: after the first call and before steady state.
        clock: where seconds come from.
        processor_clock: where seconds of processor time, of all threads, come from.
    """

    def __init__(
        self,
        label: str,
        *,
        items_per_call: float | None = None,
        tokens_per_call: float | None = None,
        padded_tokens_per_call: float | None = None,
        flops_per_call: float | None = None,
        ceiling_flops: float | None = None,
        device: str = "cuda",
        configuration: Mapping[str, Any] | None = None,
        warmup_calls: int = 3,
        clock: Clock | None = None,
        processor_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.label = label
        self.items_per_call = items_per_call
        self.tokens_per_call = tokens_per_call
        self.padded_tokens_per_call = padded_tokens_per_call
        self.flops_per_call = flops_per_call
        self.ceiling_flops = ceiling_flops
        self.device = device
        self.configuration = dict(configuration or {})
        self.warmup_calls = warmup_calls
        self._now = (clock or SystemClock()).now
        self._processor_now = processor_clock
        self._load_s: list[float] = []
        self._calls_s: list[float] = []  # first call, warm-up and steady state, in order
        self._process_s: list[float] = []  # processor time of each of them
        self._stages_s: dict[str, list[float]] = {}
        self._memory: PeakMemory | None = None
        self._gpu: GpuUtilization | None = None
        self._call = _CallTimer(self)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Time what is inside as the load, and watch memory from here on."""
        self._watch_memory()
        start_s = self._now()
        yield
        self._load_s.append(self._now() - start_s)

    def call(self) -> "_CallTimer":
        """Return a context that times what is inside as one call; calls do not nest."""
        return self._call

    def measure(
        self,
        run: Callable[[], object],
        *,
        calls: int | None = None,
        budget_s: float | None = None,
    ) -> None:
        """Call `run` through the first call and warm-up into steady state.

        calls: of steady state. budget_s: for all calls together; the one under way is finished.
        Whichever is reached first ends it, after one steady call at least.

        Raises:
            UsageError: neither limit is given, or one is not above 0.
        """
        limits = [limit for limit in (calls, budget_s) if limit is not None]
        if not limits or min(limits) <= 0:
            raise UsageError(f"calls={calls}, budget_s={budget_s}; expected one or both, above 0")
        start_s = self._now()
        self.warm_up(run)
        with self.watching_gpu():
            done = 0
            while True:
                self._time_call(run)
                done += 1
                if calls is not None and done >= calls:
                    return
                if budget_s is not None and self._now() - start_s >= budget_s:
                    return

    def warm_up(self, run: Callable[[], object]) -> None:
        """Call `run` as often as the first call and warm-up still want."""
        while len(self._calls_s) < 1 + self.warmup_calls:
            self._time_call(run)

    @contextmanager
    def watching_gpu(self) -> Iterator[None]:
        """Sample the GPU's utilization while the block runs; one inside another adds nothing.

        Put it around calls of `measure` that follow each other: samples are 0.1 s apart, and one
        call may take less.
        """
        cuda = cuda_in_use() if self.device.startswith("cuda") else None
        if cuda is None or (self._gpu is not None and self._gpu.is_sampling):
            yield
            return
        if self._gpu is None:
            self._gpu = GpuUtilization(f"GPU-{cuda.get_device_properties(self.device).uuid}")
        with self._gpu:
            yield

    def add_stage(self, name: str, seconds: Sequence[float]) -> None:
        """Add seconds that a stage of the calls took: "encode", "forward", "decode"."""
        self._stages_s.setdefault(name, []).extend(seconds)

    def summary(self) -> MeterSummary:
        """Return the figures so far."""
        steady = self._steady(self._calls_s)
        latency = percentiles(steady) if steady else None
        typical_s = latency.median if latency else None
        mean_s = sum(steady) / len(steady) if steady else None  # all time over all calls
        return MeterSummary(
            label=self.label,
            load_s=sum(self._load_s) if self._load_s else None,
            first_call_s=self._calls_s[0] if self._calls_s else None,
            latency_s=latency,
            latency_interval_s=(
                median_interval(steady) if len(steady) >= MIN_CALLS_FOR_INTERVAL else None
            ),
            items_per_s=_rate(self.items_per_call, mean_s),
            tokens_per_s=_rate(self.tokens_per_call, mean_s),
            processor_utilization=self._processor_utilization(),
            gpu_utilization=self._gpu.mean if self._gpu else None,
            gpu_reason=self._gpu.reason if self._gpu else None,
            peak_memory_bytes=self._memory.growth_bytes if self._memory else None,
            cuda_peak_memory_bytes=self._memory.cuda_growth_bytes if self._memory else None,
            ceiling_fraction=self._ceiling_fraction(typical_s),
        )

    def measurement(
        self, *, failure: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> Measurement:
        """Return the raw samples so far, for a record.

        failure: why the configuration could not go on. facts: what is known besides.
        """
        warmup = self._calls_s[1 : 1 + self.warmup_calls]
        samples = {
            "load": self._load_s,
            "first_call": self._calls_s[:1],
            "warmup": warmup,
            "latency": self._steady(self._calls_s),
            "process_time": self._steady(self._process_s),
            **self._stages_s,
        }
        known = {"ceiling_flops": self.ceiling_flops} if self.ceiling_flops else {}
        return Measurement(
            label=self.label,
            configuration=self.configuration,
            failure=failure,
            samples_s={name: tuple(taken) for name, taken in samples.items() if taken},
            items_per_call=self.items_per_call,
            tokens_per_call=self.tokens_per_call,
            padded_tokens_per_call=self.padded_tokens_per_call,
            floating_point_operations_per_call=self.flops_per_call,
            peak_memory_bytes=self._memory.growth_bytes if self._memory else None,
            cuda_peak_memory_bytes=self._memory.cuda_growth_bytes if self._memory else None,
            processor_utilization=self._processor_utilization(),
            gpu_utilization=self._gpu.mean if self._gpu else None,
            facts={**known, **(facts or {})},
        )

    def _time_call(self, run: Callable[[], object]) -> None:
        with self._call:
            run()

    def _watch_memory(self) -> None:
        if self._memory is None:
            self._memory = PeakMemory()
            self._memory.start()

    def _steady(self, samples: list[float]) -> list[float]:
        return samples[1 + self.warmup_calls :]

    def _processor_utilization(self) -> float | None:
        elapsed_s = sum(self._steady(self._calls_s))
        if elapsed_s <= 0:
            return None
        process_s = sum(self._steady(self._process_s))
        return processor_utilization(process_s, elapsed_s, available_cores())

    def _ceiling_fraction(self, typical_s: float | None) -> float | None:
        rate = _rate(self.flops_per_call, typical_s)
        return None if rate is None or not self.ceiling_flops else rate / self.ceiling_flops


class _CallTimer:
    """Times the calls of one meter; one object for all calls, to cost little."""

    __slots__ = ("_meter", "_process_start_s", "_start_s")

    def __init__(self, meter: PerformanceMeter) -> None:
        self._meter = meter
        self._start_s: float | None = None
        self._process_start_s = 0.0

    def __enter__(self) -> None:
        meter = self._meter
        if self._start_s is not None:
            raise UsageError("a call inside a call; expected one after the other")
        if not meter._calls_s:
            meter._watch_memory()
        self._process_start_s = meter._processor_now()
        self._start_s = meter._now()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        meter, start_s, self._start_s = self._meter, self._start_s, None
        if kind is not None or start_s is None:
            return
        cuda = cuda_in_use()
        if cuda is not None:
            cuda.synchronize()
        end_s = meter._now()
        meter._process_s.append(meter._processor_now() - self._process_start_s)
        meter._calls_s.append(end_s - start_s)


def _rate(amount: float | None, seconds: float | None) -> float | None:
    return amount / seconds if amount is not None and seconds else None
