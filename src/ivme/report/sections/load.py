"""Load: what a load test found, as findings, tables and charts.

Reads what `ivme loadtest` leaves beside a measurement, under the name "load".
"""

from collections.abc import Mapping
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.report.document import Block, KeyFigure, Note, Paragraph, Plots, Section, Table
from ivme.report.formatting import (
    SECONDS,
    Unit,
    choose_unit,
    format_in,
    format_interval,
    format_number,
    format_percent,
    format_seconds,
)
from ivme.report.sections.load_charts import load_charts
from ivme.report.sections.tables import build_table, number_column, text_column

_HOW_TO_READ = (
    "Latency counts from the moment when a request was due, not from when it could be sent. "
    "Bars through markers: 95% intervals."
)
_GENERATORS = {"compiled": "C++", "python": "Python"}  # older records name none


def loaded(record: Record) -> list[tuple[Measurement, Mapping[str, Any]]]:
    """Return the loads of a load test with their summaries; nothing in other records."""
    return [
        (one, one.facts["load"])
        for one in record.measurements
        if isinstance(one.facts.get("load"), Mapping)
    ]


def load_findings(record: Record) -> list[Block]:
    """Return what users got in a sentence, and whether to believe it."""
    blocks: list[Block] = []
    for measurement, load in loaded(record):
        blocks.append(Paragraph(text=load_sentence(measurement.label, load), is_lead=True))
        if load["invalid"]:
            text = f"These figures are not the server's: {load['invalid']}."
            blocks.append(Note(text=text, word="Invalid", is_warning=True))
    return blocks


def load_figures(record: Record) -> list[KeyFigure]:
    """Return the key figures of a load test."""
    figures = []
    for measurement, load in loaded(record):
        for quantile in load["latency"]["quantiles"]:
            if quantile["fraction"] in (0.5, 0.99):
                figures.append(_latency_figure(measurement, quantile))
        figures.append(
            KeyFigure(
                value=f"{format_number(load['goodput_per_s'])}/s",
                label="goodput",
                detail=f"of {format_number(load['offered_per_s'])} requests/s offered",
            )
        )
    return figures


def load_section(record: Record) -> Section | None:
    """Return charts and tables of every load."""
    blocks: list[Block] = []
    for measurement, load in loaded(record):
        if charts := load_charts(measurement, load):
            blocks.append(Plots(caption=_HOW_TO_READ, charts=charts))
        blocks.extend(load_tables(load))
    return Section(title="Under load", blocks=tuple(blocks)) if blocks else None


def load_sentence(label: str, load: Mapping[str, Any]) -> str:
    """Return a load in a sentence, as in "...: 100% answered, half of them within 12 ms"."""
    if not load["requests"]:
        return f"{label}: stopped before anything was counted."
    share = format_percent(load["answered"] / load["requests"])
    words = [f"{label}: {share} of {load['requests']:,} requests answered"]
    if load["refused"]:
        words.append(f"{format_percent(load['refused'] / load['requests'])} refused")
    if failed := sum(load["failed"].values()):
        words.append(f"{format_percent(failed / load['requests'])} failed")
    found = {one["fraction"]: one for one in load["latency"]["quantiles"]}
    if 0.5 in found:
        words.append(f"half of the answers within {_time_text(found[0.5])}")
    if 0.99 in found:
        words.append(f"99% within {_time_text(found[0.99])}")
    return ", ".join(words) + "."


def load_tables(load: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the tables of latencies, outcomes and rates."""
    return tuple(table for table in (_latencies(load), _outcomes(load), _rates(load)) if table.rows)


def _latencies(load: Mapping[str, Any]) -> Table:
    """Return a row for each percentile; each column has the unit that fits its median."""
    kinds = {"latency": "Answers", "refusal": "Refusals", "slip": "Slip of the generator"}
    named = {
        kind: {f"p{100 * one['fraction']:g}": one for one in load[kind]["quantiles"]}
        for kind in kinds
    }
    rows = [name for name in ("p50", "p90", "p99", "p99.9") if any(name in named[k] for k in kinds)]
    columns = [text_column("Percentile", [*rows, "max"])]
    for kind, heading in kinds.items():
        found = [named[kind].get(name) for name in rows]
        largest = load[kind]["max_s"]
        if not largest:  # none of that kind; or waiting clients, whose requests cannot be late
            continue
        unit = choose_unit([*(one and one["value"] for one in found), largest], SECONDS)
        cells = [format_in(one and one["value"], unit, one and _interval(one)) for one in found]
        columns.append(
            number_column(f"{heading}, {unit.symbol}", [*cells, format_in(largest, unit)])
        )
        if kind == "latency":
            bounds = [_interval_in(one and _interval(one), unit) for one in found]
            columns.append(number_column(f"95% interval, {unit.symbol}", [*bounds, ""]))
    return build_table("Latency, from the moment when each request was due", columns)


def _outcomes(load: Mapping[str, Any]) -> Table:
    counts = {
        "answered (2xx)": load["answered"],
        "refused (429, 503)": load["refused"],
        **{_failure_name(name): count for name, count in load["failed"].items()},
        "unfinished": load["unfinished"],
    }
    rows = {name: count for name, count in counts.items() if count}
    return build_table(
        "Outcomes",
        [
            text_column("Outcome", rows),
            number_column("Requests", (f"{count:,}" for count in rows.values())),
            number_column(
                "Share", (format_percent(count / load["requests"]) for count in rows.values())
            ),
        ],
    )


def _rates(load: Mapping[str, Any]) -> Table:
    columns = [
        number_column("Offered/s", [format_number(load["offered_per_s"])]),
        number_column("Responses/s", [format_number(load["throughput_per_s"])]),
        number_column("Goodput/s", [format_number(load["goodput_per_s"])]),
        number_column("Connections", [f"{load['connections']:,}"]),
        text_column("Sent by", [_GENERATORS.get(load.get("generator", ""), "")]),
        number_column("Generator busy", [format_percent(load["busy_share"])]),
    ]
    return build_table("Rates", columns)


def _latency_figure(measurement: Measurement, quantile: Mapping[str, Any]) -> KeyFigure:
    interval = _interval(quantile)
    within = f"; 95% interval {format_interval(interval, format_seconds)}" if interval else ""
    return KeyFigure(
        value=format_seconds(quantile["value"], interval),
        label=f"p{100 * quantile['fraction']:g} of the latency",
        detail=f"{measurement.label}{within}",
    )


def _time_text(quantile: Mapping[str, Any]) -> str:
    return format_seconds(quantile["value"], _interval(quantile))


def _interval(quantile: Mapping[str, Any]) -> tuple[float, float] | None:
    interval = quantile["interval"]
    return (interval[0], interval[1]) if interval else None


def _interval_in(interval: tuple[float, float] | None, unit: Unit) -> str:
    return format_interval(interval, lambda bound, around: format_in(bound, unit, around))


def _failure_name(outcome: str) -> str:
    return f"status {outcome}" if outcome.isdecimal() else outcome
