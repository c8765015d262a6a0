"""The sweeps of a diagnosis: throughput and memory over each setting that was turned."""

from collections.abc import Callable, Sequence

from ivme.measure.records import Comparison, Measurement, Record
from ivme.measure.statistics import median
from ivme.report.charts.specifications import Chart, LineChart, Point, Series
from ivme.report.document import Plots, Section, Table
from ivme.report.figures import samples
from ivme.report.formatting import (
    BYTES,
    SECONDS,
    choose_unit,
    format_interval,
    format_number,
    format_ratio,
)
from ivme.report.sections.diagnose import diagnosed
from ivme.report.sections.tables import (
    Column,
    build_table,
    number_column,
    share_column,
    text_column,
    unit_column,
)
from ivme.report.wording import speedup_interval

LINES = {
    "batch_size": "batch size",
    "sequence_length": "sequence length, tokens",
    "workers": "data workers",
    "threads": "threads",
}


def sweep_section(record: Record) -> Section | None:
    """Return all settings that were tried: charts of those with a scale, and one table."""
    if diagnosed(record) is None:
        return None
    charts = [chart for axis in LINES for chart in _charts(record, axis)]
    plots = (Plots(charts=tuple(charts), caption=_CAPTION),) if charts else ()
    table = sweep_table(record)
    return Section(title="What was tried", blocks=(*plots, table)) if table else None


_CAPTION = "Times as fast as the present set-up, for equal tokens and in turns; 95% intervals."


def sweep_table(record: Record) -> Table | None:
    """Return every setting that ran: step, throughput, memory, and how it compares."""
    ran = [one for one in record.measurements if samples(one, "step")]
    if not ran:
        return None
    found = {one.variant: one for one in record.comparisons}
    compared = [found.get(one.label) for one in ran]
    return build_table(
        "Everything that ran",
        [
            text_column("Setting", (one.label for one in ran)),
            number_column("Times as fast", map(_times, compared)),
            number_column("95% interval", map(_interval, compared)),
            text_column("Verdict", (one.verdict if one else "" for one in compared)),
            unit_column("Step", [median(samples(one, "step")) for one in ran], SECONDS),
            number_column("tokens/s", (format_number(_rate(one)) for one in ran)),
            unit_column("Peak memory", [one.peak_memory_bytes for one in ran], BYTES),
            *_worker_columns(ran),
            share_column("Processor", (one.processor_utilization for one in ran)),
        ],
    )


def _worker_columns(ran: Sequence[Measurement]) -> list[Column]:
    """Return what processes of data workers hold for themselves; nothing where there are none."""
    sizes = [one.facts.get("worker_bytes") or None for one in ran]
    return [unit_column("Of its workers", sizes, BYTES)] if any(sizes) else []


def _charts(record: Record, axis: str) -> list[Chart]:
    """Return how speed and memory move with one setting; none where it was not turned.

    A trial that failed in its turns has no speed.
    """
    trials = [one for one in record.measurements if one.facts.get("axis") == axis]
    trials = [one for one in trials if samples(one, "step") and _is_plain(one, axis)]
    first = diagnosed(record)
    if not trials or first is None:
        return []
    found = {one.variant: one for one in record.comparisons}
    compared = [one for one in trials if one.label in found]
    charts: list[Chart] = []
    if compared:
        speeds = [_speed_point(one, found[one.label], axis) for one in compared]
        speeds.append(Point(x=first[0].configuration[axis], y=1.0))
        title = f"Throughput by {LINES[axis]}"
        charts.append(_line_chart(title, LINES[axis], "times as fast", speeds))
    if axis in ("batch_size", "sequence_length"):
        charts.append(_memory_chart([first[0], *trials], axis))
    return charts


def _is_plain(trial: Measurement, axis: str) -> bool:
    """Return whether a trial turns nothing but the axis: prefetch is swept beside workers."""
    return axis != "workers" or "prefetch" not in trial.label


def _speed_point(trial: Measurement, comparison: Comparison, axis: str) -> Point:
    interval = speedup_interval(comparison.interval)
    return Point(x=trial.configuration[axis], y=1 / comparison.ratio, interval=interval)


def _memory_chart(trials: Sequence[Measurement], axis: str) -> LineChart:
    unit = choose_unit([one.peak_memory_bytes for one in trials], BYTES)
    points = [
        Point(x=one.configuration[axis], y=one.peak_memory_bytes / unit.factor)
        for one in trials
        if one.peak_memory_bytes
    ]
    title = f"Peak memory by {LINES[axis]}"
    return _line_chart(title, LINES[axis], f"peak memory, {unit.symbol}", points)


def _line_chart(title: str, x_label: str, y_label: str, points: Sequence[Point]) -> LineChart:
    order: Callable[[Point], float] = lambda point: point.x  # noqa: E731
    return LineChart(
        title=title,
        description="",
        x_label=x_label,
        y_label=y_label,
        series=(Series(name="", points=tuple(sorted(points, key=order))),),
    )


def _rate(one: Measurement) -> float | None:
    tokens = one.tokens_per_call
    return tokens / median(samples(one, "step")) if tokens else None


def _times(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return format_ratio(1 / comparison.ratio, speedup_interval(comparison.interval))


def _interval(comparison: Comparison | None) -> str:
    return format_interval(speedup_interval(comparison.interval)) if comparison else ""
