"""Charts of a load test: latency by percentile, and latency and rates over the run."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ivme.measure.records import Measurement
from ivme.measure.statistics import median
from ivme.report.charts.specifications import LineChart, Point, Series
from ivme.report.formatting import SECONDS, Unit, choose_unit

_MOST_SLICES = 30  # of a run, each a marker in a chart as wide as a phone
_FEWEST_SLICES = 3


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """The requests that were due within a few seconds."""

    start_s: float
    latencies_s: tuple[float, ...]  # of answers
    outcomes: Counter[str]  # "answered", "refused", "failed"


def load_charts(measurement: Measurement, load: Mapping[str, Any]) -> tuple[LineChart, ...]:
    """Return the charts that the samples of a load suffice for."""
    width_s = max(1, math.ceil(load["counted_s"] / _MOST_SLICES))
    slices = _slices(measurement, load, width_s)
    charts = [_percentile_chart(load)]
    if len(slices) >= _FEWEST_SLICES:
        charts += [_latency_chart(slices, width_s), _rate_chart(slices, width_s)]
    return tuple(chart for chart in charts if chart is not None)


def _percentile_chart(load: Mapping[str, Any]) -> LineChart | None:
    quantiles = load["latency"]["quantiles"]
    if len(quantiles) < 2:
        return None
    unit = choose_unit([one["value"] for one in quantiles], SECONDS)
    points = tuple(
        Point(
            x=round(1 / (1 - one["fraction"])),
            y=one["value"] / unit.factor,
            interval=_scaled(one["interval"], unit),
        )
        for one in quantiles
    )
    return LineChart(
        title="Slow answers",
        description="How long the slowest one in 2, 10, 100 or 1,000 took, or longer.",
        x_label="one answer in so many took longer",
        y_label=f"latency, {unit.symbol}",
        series=(Series(name="", points=points),),
    )


def _latency_chart(slices: Sequence[_Slice], width_s: int) -> LineChart | None:
    timed = [one for one in slices if one.latencies_s]
    if not timed:
        return None
    unit = choose_unit([median(one.latencies_s) for one in timed], SECONDS)
    lines: dict[str, Callable[[Sequence[float]], float]] = {"slowest": max, "median": median}
    return LineChart(
        title="Latency over the run",
        description=f"Of the answers to what was due within {_span(width_s)}.",
        x_label="seconds since the start",
        y_label=f"latency, {unit.symbol}",
        series=tuple(
            Series(
                name=name,
                group=1 - group,
                points=tuple(
                    Point(x=one.start_s, y=read(one.latencies_s) / unit.factor) for one in timed
                ),
            )
            for group, (name, read) in enumerate(lines.items())
        ),
    )


def _rate_chart(slices: Sequence[_Slice], width_s: int) -> LineChart | None:
    whole = slices[:-1]  # the last may be cut short
    groups = {"answered": 2, "refused": 4, "failed": 1}
    if not any(one.outcomes for one in whole):
        return None
    return LineChart(
        title="What became of requests",
        description=f"Of those due within {_span(width_s)}, by the second.",
        x_label="seconds since the start",
        y_label="requests/s",
        series=tuple(
            Series(
                name=name,
                group=group,
                points=tuple(Point(x=one.start_s, y=one.outcomes[name] / width_s) for one in whole),
            )
            for name, group in groups.items()
            if any(one.outcomes[name] for one in whole)
        ),
    )


def _slices(measurement: Measurement, load: Mapping[str, Any], width_s: int) -> list[_Slice]:
    """Return the run in slices of so many seconds, from the end of the warm-up on."""
    count = math.ceil(load["counted_s"] / width_s)
    latencies: list[list[float]] = [[] for _ in range(count)]
    outcomes: list[Counter[str]] = [Counter() for _ in range(count)]
    samples, facts = measurement.samples_s, measurement.facts
    names = facts["outcome_names"]
    for due, ended, place in zip(samples["due"], samples["ended"], facts["outcomes"], strict=True):
        at = math.floor(due / width_s)
        if 0 <= at < count and ended is not None:
            kind = _kind(names[place])
            outcomes[at][kind] += 1
            if kind == "answered":
                latencies[at].append(ended - due)
    return [
        _Slice(start_s=at * width_s, latencies_s=tuple(latencies[at]), outcomes=outcomes[at])
        for at in range(count)
    ]


def _kind(outcome: str) -> str:
    if outcome in ("429", "503"):
        return "refused"
    return "answered" if outcome.startswith("2") else "failed"


def _span(width_s: int) -> str:
    return "one second" if width_s == 1 else f"{width_s} seconds"


def _scaled(interval: Sequence[float] | None, unit: Unit) -> tuple[float, float] | None:
    return (interval[0] / unit.factor, interval[1] / unit.factor) if interval else None
