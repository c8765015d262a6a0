"""Spread: every raw sample, outliers and all, and the stages that a call went through."""

from collections.abc import Sequence
from statistics import quantiles

from ivme.measure.records import Record
from ivme.measure.statistics import classify_outliers, median
from ivme.report.charts.specifications import Sample, Strip, StripChart
from ivme.report.document import Plots, Section
from ivme.report.figures import Figures, read_figures, samples
from ivme.report.formatting import SECONDS, format_percent
from ivme.report.sections.tables import Column, build_table, text_column, unit_column

_MOST_STRIPS = 9
_MOST_CHARTS = 3
_FEWEST_STRIPS = 3  # in one chart, where there are more
_MOST_DOTS = 160  # of one configuration; outliers are always drawn
_FEWEST_SAMPLES = 5
_WHOLE_CALLS = ("load", "first_call", "warmup", "latency", "process_time")


def spread_section(record: Record) -> Section | None:
    """Return the raw samples of the configurations that scatter most."""
    figures = [one for one in read_figures(record) if len(one.latency_s) >= _FEWEST_SAMPLES]
    if not figures:
        return None
    widest = sorted(figures, key=lambda one: -one.p99_s / one.median_s)[:_MOST_STRIPS]
    kept = [one for one in figures if one in widest]
    description = (
        "One dot a call, first call on top; its time over the configuration's median. Box: "
        "quartiles. Orange: mild outliers, red rings: severe ones; all count in the figures."
    )
    if len(kept) < len(figures):
        description += f" The {len(kept)} that scatter most, of {len(figures)}."
    plots = Plots(caption=description, charts=_charts([_strip(one) for one in kept]))
    return Section(title="Every call", blocks=(plots,))


def stage_section(record: Record) -> Section | None:
    """Return the time of each stage of a call, where stages were timed."""
    staged = [one for one in record.measurements if samples(one, "latency") and not one.failure]
    names = [name for one in staged for name in one.samples_s if name not in _WHOLE_CALLS]
    columns: list[Column] = [text_column("Configuration", (one.label for one in staged))]
    for name in dict.fromkeys(names):
        values = [samples(one, name) for one in staged]
        medians = [median(one) if one else None for one in values]
        columns.append(unit_column(name.replace("_", " ").capitalize(), medians, SECONDS))
        if name == "encode":
            latencies = [median(samples(one, "latency")) for one in staged]
            shares = (
                part / whole if part else None
                for part, whole in zip(medians, latencies, strict=True)
            )
            columns.append(Column(name="of a call", cells=tuple(map(format_percent, shares))))
    if len(columns) == 1:
        return None
    return Section(
        title="Stages of a call, median times",
        blocks=(build_table("Stages of a call, median times", columns),),
    )


def _charts(strips: Sequence[Strip]) -> tuple[StripChart, ...]:
    """Return the strips in charts of a few, all on one scale."""
    values = [sample.value for strip in strips for sample in strip.samples]
    size = max(_FEWEST_STRIPS, -(-len(strips) // _MOST_CHARTS))
    return tuple(
        StripChart(
            title="",
            description="",
            x_label="time over the median",
            extent=(min(values), max(values)),
            strips=tuple(strips[start : start + size]),
        )
        for start in range(0, len(strips), size)
    )


def _strip(figures: Figures) -> Strip:
    severities = [
        one.split()[0] if one else "inlier" for one in classify_outliers(figures.latency_s)
    ]
    last = max(1, len(figures.latency_s) - 1)
    step = -(-len(figures.latency_s) // _MOST_DOTS)
    drawn = tuple(
        Sample(value=seconds / figures.median_s, order=index / last, severity=severity)
        for index, (seconds, severity) in enumerate(zip(figures.latency_s, severities, strict=True))
        if severity != "inlier" or index % step == 0
    )
    return Strip(
        label=figures.label,
        text=_counts(len(severities), len(severities) - severities.count("inlier")),
        samples=drawn,
        box=_quartiles(figures),
    )


def _quartiles(figures: Figures) -> tuple[float, float]:
    """Return the quartiles over the median."""
    below, _, above = quantiles(figures.latency_s, n=4, method="inclusive")
    return below / figures.median_s, above / figures.median_s


def _counts(calls: int, outliers: int) -> str:
    return f"{outliers} of {calls:,} out" if outliers else f"{calls:,} calls"
