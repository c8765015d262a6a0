"""What a meter found, in figures and as text."""

from dataclasses import dataclass

from ivme.measure.statistics import Percentiles


@dataclass(frozen=True, kw_only=True)
class MeterSummary:
    """The figures of one configuration; None where there is none. `str` gives one line each."""

    label: str
    load_s: float | None
    first_call_s: float | None
    latency_s: Percentiles | None  # steady state: first call and warm-up left out
    latency_interval_s: tuple[float, float] | None  # 95%, of the median
    items_per_s: float | None
    tokens_per_s: float | None
    processor_utilization: float | None  # 0..1 of the cores that the process may use
    gpu_utilization: float | None  # 0..1
    gpu_reason: str | None  # why there is no GPU utilization
    peak_memory_bytes: int | None  # growth of resident memory since the start of the load
    cuda_peak_memory_bytes: int | None
    ceiling_fraction: float | None  # 0..1 of the rate that the machine reaches at best

    def __str__(self) -> str:
        """Return the figures that there are, one a line."""
        rows = [*self._time_rows(), *self._rate_rows(), *self._resource_rows()]
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join([self.label, *(f"  {name:<{width}}  {value}" for name, value in rows)])

    def _time_rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.load_s is not None:
            rows.append(("load", format_seconds(self.load_s)))
        if self.first_call_s is not None:
            rows.append(("first call", format_seconds(self.first_call_s)))
        if self.latency_s is not None:
            rows.append((f"latency of {self.latency_s.count} calls", self._latency()))
        return rows

    def _latency(self) -> str:
        assert self.latency_s is not None
        median = format_seconds(self.latency_s.median)
        if self.latency_interval_s is not None:
            low, high = map(format_seconds, self.latency_interval_s)
            median += f" (95%: {low} to {high})"
        rest = [("p90", self.latency_s.p90), ("p99", self.latency_s.p99)]
        rest.append(("min", self.latency_s.minimum))
        figures = ", ".join(f"{name} {format_seconds(value)}" for name, value in rest)
        return f"median {median}, {figures}"

    def _rate_rows(self) -> list[tuple[str, str]]:
        rates = (("items", self.items_per_s), ("tokens", self.tokens_per_s))
        rows = [(name, f"{rate:,.1f} per second") for name, rate in rates if rate is not None]
        if self.ceiling_fraction is not None:
            rows.append(("of the ceiling", f"{self.ceiling_fraction:.1%}"))
        return rows

    def _resource_rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.processor_utilization is not None:
            rows.append(("processor utilization", f"{self.processor_utilization:.0%}"))
        if self.gpu_utilization is not None:
            rows.append(("GPU utilization", f"{self.gpu_utilization:.0%}"))
        elif self.gpu_reason is not None:
            rows.append(("GPU utilization", f"none: {self.gpu_reason}"))
        if self.peak_memory_bytes is not None:
            rows.append(("peak memory", f"{self.peak_memory_bytes / 2**20:,.0f} MiB"))
        if self.cuda_peak_memory_bytes is not None:
            rows.append(("peak CUDA memory", f"{self.cuda_peak_memory_bytes / 2**20:,.0f} MiB"))
        return rows


def format_seconds(seconds: float) -> str:
    """Return seconds with three digits and the unit that fits: s, ms, µs."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 1 or unit == "µs":
            break
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f} {unit}"
