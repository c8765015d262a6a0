"""Metrics: a figure of every configuration as lines over what was swept, or as bars."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ivme.report.charts.specifications import (
    Bar,
    BarChart,
    Interval,
    LineChart,
    Point,
    Series,
)
from ivme.report.figures import Figures, describe, varying_settings
from ivme.report.formatting import (
    SECONDS,
    Unit,
    choose_unit,
    format_bytes,
    format_in,
    rate_units,
)

_AXES = {"batch_size": "batch size, texts", "tokens": "length, tokens"}
_AXIS_WORDS = {"batch_size": "batch size", "tokens": "length"}
_EASY_SERIES = 3  # in one chart; more are split by the other swept number, if there is one
_MOST_SERIES = 6  # as many as there are colors; more are split by any setting
_MOST_BARS = 8


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure to draw: how to read it, and how to name it."""

    name: str
    units: tuple[Unit, ...]
    read: Callable[[Figures], float | None]
    read_interval: Callable[[Figures], Interval | None]


LATENCY = Metric(
    name="latency",
    units=SECONDS,
    read=lambda one: one.median_s,
    read_interval=lambda one: one.interval_s,
)
THROUGHPUT = Metric(
    name="throughput",
    units=rate_units("texts/s"),
    read=lambda one: one.items_per_s,
    read_interval=lambda one: _rate_interval(one),
)


def metric_charts(
    metric: Metric, figures: Sequence[Figures], axes: Iterable[str]
) -> tuple[LineChart, ...] | tuple[BarChart, ...]:
    """Return the metric against those settings that were swept; as bars where none was."""
    return _sweeps(metric, figures, axes) or _bars(metric, figures)


def _sweeps(
    metric: Metric, figures: Sequence[Figures], axes: Iterable[str]
) -> tuple[LineChart, ...]:
    """Return the metric against each setting that was swept."""
    charts: list[LineChart] = []
    for axis in axes:
        placed = [one for one in figures if _is_number(one.configuration.get(axis))]
        if len({one.configuration[axis] for one in placed}) > 1:
            charts.extend(_sweep(metric, placed, axis))
    return tuple(charts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _sweep(metric: Metric, figures: Sequence[Figures], axis: str) -> list[LineChart]:
    """Return charts of a metric against one setting: lines, and side by side what is too many."""
    others = [name for name in _varying(figures) if name != axis]
    sides = _settings_apart(figures, others)
    names = [name for name in others if name not in sides]
    groups = _positions(figures, names)
    charts = []
    for side, members in _grouped(figures, sides).items():
        series = tuple(
            _series(metric, lined, axis, name, groups[name])
            for name, lined in _grouped(members, names).items()
        )
        if any(one.points for one in series):
            charts.append(_line_chart(metric, axis, side, series))
    return charts


def _settings_apart(figures: Sequence[Figures], names: Sequence[str]) -> list[str]:
    """Return the settings that get charts of their own, so that none holds too many lines."""
    rest = [*(name for name in _AXES if name in names), *(n for n in names if n not in _AXES)]
    apart: list[str] = []
    while rest:
        lines = len(_grouped(figures, rest))
        if lines <= (_EASY_SERIES if rest[0] in _AXES else _MOST_SERIES):
            break
        apart.append(rest.pop(0))
    return apart


def _varying(figures: Sequence[Figures]) -> tuple[str, ...]:
    return varying_settings([one.configuration for one in figures])


def _positions(figures: Sequence[Figures], names: Sequence[str]) -> Mapping[str, int]:
    return {name: index for index, name in enumerate(_grouped(figures, names))}


def _grouped(figures: Sequence[Figures], names: Sequence[str]) -> dict[str, list[Figures]]:
    """Return the figures by the words of those settings, in order of appearance."""
    groups: dict[str, list[Figures]] = {}
    for one in figures:
        groups.setdefault(describe(one.configuration, names), []).append(one)
    return groups


def _series(metric: Metric, figures: Sequence[Figures], axis: str, name: str, group: int) -> Series:
    ordered = sorted(figures, key=lambda one: one.configuration[axis])
    points = [
        Point(x=one.configuration[axis], y=value, interval=metric.read_interval(one))
        for one in ordered
        if (value := metric.read(one)) is not None
    ]
    return Series(name=name, points=tuple(points), group=group)


def _line_chart(metric: Metric, axis: str, side: str, series: tuple[Series, ...]) -> LineChart:
    """Return the chart with its values brought into the unit that fits them."""
    unit = choose_unit([point.y for one in series for point in one.points], metric.units)
    title = f"{metric.name.capitalize()} by {_AXIS_WORDS[axis]}"
    return LineChart(
        title=f"{title}, {side}" if side else title,
        description="",
        x_label=_AXES[axis],
        y_label=unit.symbol,
        series=tuple(_scaled(one, unit) for one in series if one.points),
    )


def _scaled(series: Series, unit: Unit) -> Series:
    points = tuple(
        Point(x=one.x, y=one.y / unit.factor, interval=_scaled_interval(one.interval, unit))
        for one in series.points
    )
    return Series(name=series.name, points=points, group=series.group)


def _scaled_interval(interval: Interval | None, unit: Unit) -> Interval | None:
    return (interval[0] / unit.factor, interval[1] / unit.factor) if interval else None


def _rate_interval(figures: Figures) -> Interval | None:
    if figures.interval_s is None or figures.items_per_s is None:
        return None
    if figures.configuration.get("tokens") is None:
        return None  # the interval is of the median, and this throughput is not
    items = figures.items_per_s * figures.median_s
    return items / figures.interval_s[1], items / figures.interval_s[0]


def _bars(metric: Metric, figures: Sequence[Figures]) -> tuple[BarChart, ...]:
    """Return a metric of configurations that no setting orders, as bars."""
    counted = [one for one in figures if metric.read(one) is not None]
    if len(counted) < 2:
        return ()
    unit = choose_unit([metric.read(one) for one in counted], metric.units)
    bars = []
    for one in counted[:_MOST_BARS]:
        value, interval = metric.read(one) or 0.0, metric.read_interval(one)
        text = f"{format_in(value, unit, interval)} {unit.symbol}"
        scaled = _scaled_interval(interval, unit)
        bars.append(Bar(label=one.label, value=value / unit.factor, interval=scaled, text=text))
    return (
        BarChart(
            title=metric.name.capitalize(),
            description=_left_out(len(counted)),
            x_label="",
            bars=tuple(bars),
        ),
    )


def memory_charts(figures: Sequence[Figures]) -> tuple[BarChart, ...]:
    """Return peak memory as bars, largest first; none for fewer than two configurations."""
    counted = [one for one in figures if one.peak_memory_bytes]
    if len(counted) < 2:
        return ()
    counted.sort(key=lambda one: -(one.peak_memory_bytes or 0))
    bars = tuple(
        Bar(
            label=one.label,
            value=float(one.peak_memory_bytes or 0),
            text=format_bytes(one.peak_memory_bytes),
            group=2,
        )
        for one in counted[:_MOST_BARS]
    )
    description = "Resident growth since before the model was loaded, largest first."
    return (
        BarChart(
            title="Peak memory",
            description=f"{description} {_left_out(len(counted))}".rstrip(),
            x_label="",
            bars=bars,
        ),
    )


def _left_out(count: int) -> str:
    return f"The first {_MOST_BARS} of {count}; the table has all." if count > _MOST_BARS else ""
