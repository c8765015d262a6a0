"""Figures: what follows from the raw samples of a measurement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.measure.statistics import median, median_interval, percentiles

# Settings that tell configurations apart, in the order in which labels name them.
SETTINGS = ("model", "engine", "dtype", "device", "padding", "threads", "batch_size", "tokens")
_FEWEST_FOR_INTERVAL = 5  # fewer calls say nothing about their scatter
_WORDS = {
    "batch_size": "batch {}",
    "tokens": "{} tokens",
    "threads": "{} threads",
    "padding": "{} padding",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one configuration that ran; None where nothing was measured."""

    label: str
    configuration: Mapping[str, Any]
    latency_s: tuple[float, ...]
    median_s: float
    interval_s: tuple[float, float] | None  # 95% of a bootstrap of the median
    p90_s: float
    p99_s: float
    min_s: float
    items_per_s: float | None
    tokens_per_s: float | None
    load_s: float | None
    first_call_s: float | None
    peak_memory_bytes: int | None
    cuda_peak_memory_bytes: int | None
    ceiling_share: float | None
    processor_share: float | None
    gpu_share: float | None
    padding_share: float | None  # of the tokens that ran; 0: none


def read_figures(record: Record) -> tuple[Figures, ...]:
    """Return the figures of every configuration with latency samples, in the record's order."""
    return tuple(
        _figures(measurement)
        for measurement in record.measurements
        if measurement.failure is None and samples(measurement, "latency")
    )


def samples(measurement: Measurement, name: str) -> tuple[float, ...]:
    """Return the samples of that name that are times; a clock that failed left null."""
    return tuple(one for one in measurement.samples_s.get(name, ()) if one is not None and one > 0)


def varying_settings(configurations: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the settings that differ between the configurations, in the order of labels."""
    names = list(SETTINGS)
    for configuration in configurations:
        names.extend(name for name in configuration if name not in names)
    return tuple(name for name in names if len({str(one.get(name)) for one in configurations}) > 1)


def shared_settings(figures: Sequence[Figures]) -> str:
    """Return the settings that all configurations have in common, in words."""
    configurations = [one.configuration for one in figures]
    shared = [name for name in SETTINGS if name not in varying_settings(configurations)]
    return describe(configurations[0], shared)


def describe(configuration: Mapping[str, Any], settings: Sequence[str]) -> str:
    """Return the values of those settings in words, as in "pipeline · batch 8"."""
    values = ((name, configuration.get(name)) for name in settings)
    words = (_WORDS.get(name, "{}").format(value) for name, value in values if value is not None)
    return " · ".join(words)


def _figures(measurement: Measurement) -> Figures:
    latency_s = samples(measurement, "latency")
    steady = percentiles(latency_s)
    typical_s = _typical_call(measurement, latency_s)
    tokens, padded = measurement.tokens_per_call, measurement.padded_tokens_per_call
    return Figures(
        label=measurement.label,
        configuration=measurement.configuration,
        latency_s=latency_s,
        median_s=steady.median,
        interval_s=_median_interval(latency_s) if steady.count >= _FEWEST_FOR_INTERVAL else None,
        p90_s=steady.p90,
        p99_s=steady.p99,
        min_s=steady.minimum,
        items_per_s=_rate(measurement.items_per_call, typical_s),
        tokens_per_s=_rate(tokens, typical_s),
        load_s=_middle(samples(measurement, "load")),
        first_call_s=_middle(samples(measurement, "first_call")),
        peak_memory_bytes=measurement.peak_memory_bytes,
        cuda_peak_memory_bytes=measurement.cuda_peak_memory_bytes,
        ceiling_share=_ceiling_share(measurement, steady.median),
        processor_share=measurement.processor_utilization,
        gpu_share=measurement.gpu_utilization,
        padding_share=1 - tokens / padded if tokens and padded else None,
    )


def _typical_call(measurement: Measurement, latency_s: tuple[float, ...]) -> float:
    """Return the seconds of a call that throughput counts with.

    The median where all calls do the same work. Batches of real texts differ in length, so that
    only all of their time over all of their texts is a throughput.
    """
    if measurement.configuration.get("tokens") is None:
        return sum(latency_s) / len(latency_s)
    return median(latency_s)


@lru_cache(maxsize=4096)
def _median_interval(latency_s: tuple[float, ...]) -> tuple[float, float]:
    """Return the interval; kept, because several sections of one report read it."""
    return median_interval(latency_s)


def _rate(count: float | None, seconds: float) -> float | None:
    return count / seconds if count else None


def _middle(values: tuple[float, ...]) -> float | None:
    return median(values) if values else None


def _ceiling_share(measurement: Measurement, median_s: float) -> float | None:
    """Return the rate of operations over this machine's best in that precision."""
    ceiling = measurement.facts.get("ceiling_flops")
    operations = measurement.floating_point_operations_per_call
    return operations / median_s / ceiling if operations and ceiling else None
