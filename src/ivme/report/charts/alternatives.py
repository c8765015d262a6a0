"""Alternatives: what a chart shows, in words, for readers who do not see it."""

from collections.abc import Callable
from typing import Any

from ivme.report.charts.curves import value_at
from ivme.report.charts.specifications import (
    BarChart,
    Chart,
    CurveChart,
    ForestChart,
    LineChart,
    ScatterChart,
    SequenceChart,
    StackChart,
    StripChart,
)
from ivme.report.formatting import format_number


def alternative(chart: Chart) -> str:
    """Return title, how to read it, and the values."""
    parts = (chart.title, chart.description.rstrip("."), _TOLD_BY[type(chart)](chart))
    return ". ".join(part for part in parts if part) + "."


def _tell_bars(chart: BarChart) -> str:
    return "; ".join(f"{bar.label}: {bar.text}" for bar in chart.bars)


def _tell_curves(chart: CurveChart) -> str:
    """Tell what each curve reaches at the guides; all points where there are no guides."""
    told = []
    for series in chart.series:
        pairs = [(guide, value_at(series.points, guide)) for guide in chart.guides]
        pairs = pairs or [(point.x, point.y) for point in series.points]
        values = ", ".join(f"{format_number(y)} at {format_number(x)}" for x, y in pairs)
        told.append(f"{series.name} ({values})".strip())
    return f"{chart.y_label} by {chart.x_label}: {'; '.join(told)}"


def _tell_forest(chart: ForestChart) -> str:
    return "; ".join(f"{effect.label}, {effect.text}" for effect in chart.effects)


def _tell_lines(chart: LineChart) -> str:
    told = []
    for series in chart.series:
        values = ", ".join(f"{p.x:,.0f}: {format_number(p.y)}" for p in series.points)
        told.append(f"{series.name} ({values})".strip())
    return f"{chart.y_label} by {chart.x_label}: {'; '.join(told)}"


def _tell_scatter(chart: ScatterChart) -> str:
    return "; ".join(point.text for point in chart.points)


def _tell_sequence(chart: SequenceChart) -> str:
    low, high = (format_number(bound) for bound in (min(chart.values), max(chart.values)))
    return f"{len(chart.values)} blocks between {low} and {high} {chart.y_label}"


def _tell_stacks(chart: StackChart) -> str:
    told = []
    for stack in chart.stacks:
        parts = ", ".join(f"{part.label} {part.text}" for part in stack.parts)
        told.append(f"{stack.label}, {stack.text}: {parts}")
    return "; ".join(told)


def _tell_strips(chart: StripChart) -> str:
    return f"{chart.x_label}: " + "; ".join(f"{one.label}: {one.text}" for one in chart.strips)


_TOLD_BY: dict[type, Callable[[Any], str]] = {
    BarChart: _tell_bars,
    CurveChart: _tell_curves,
    ForestChart: _tell_forest,
    LineChart: _tell_lines,
    ScatterChart: _tell_scatter,
    SequenceChart: _tell_sequence,
    StackChart: _tell_stacks,
    StripChart: _tell_strips,
}
