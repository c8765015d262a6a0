"""Tuning: every variant that a search tried, what became of it, and what there is to choose from.

Reads what `ivme tune` leaves beside each measurement, under the name "tune".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.report.charts.specifications import ScatterChart, ScatterPoint
from ivme.report.document import Block, Paragraph, Plots, Section, Table
from ivme.report.figures import Figures, read_figures
from ivme.report.formatting import (
    BYTES,
    MISSING,
    format_bytes,
    format_interval,
    format_number,
    format_percent,
    format_ratio,
    format_seconds,
)
from ivme.report.sections.tables import (
    build_table,
    number_column,
    share_column,
    text_column,
    unit_column,
)

_CHOSEN_FIRST = ("chosen", "runner-up", "accepted", "in the race", "slower", "lossy", "too large")


def tuned(record: Record) -> list[tuple[Measurement, Mapping[str, Any]]]:
    """Return the variants of a search with what it says of them; nothing in other records."""
    return [
        (one, one.facts["tune"])
        for one in record.measurements
        if isinstance(one.facts.get("tune"), Mapping)
    ]


def tuning_section(record: Record) -> Section | None:
    """Return the variants of a search, chosen one first, and the Pareto chart."""
    if not tuned(record):
        return None
    chart = pareto_chart(record)
    tables = [
        table
        for build in (variant_table, phase_table, discarded_table)
        if (table := build(record)) is not None
    ]
    plots: tuple[Block, ...] = (Plots(charts=(chart,)),) if chart else ()
    return Section(title="What was tried", blocks=(*plots, *tables))


def tuning_findings(record: Record) -> list[Block]:
    """Return what was chosen, in a sentence."""
    chosen = [(one, facts) for one, facts in tuned(record) if facts["status"] == "chosen"]
    if not tuned(record):
        return []
    if not chosen:
        return [Paragraph(text="No variant was chosen; the table says why.", is_lead=True)]
    measurement, facts = chosen[0]
    interval = _speedup_interval(facts)
    times = f"{format_ratio(_speedup(facts), interval)} times as fast as the baseline"
    within = f" ({format_interval(interval)})" if interval else ""
    return [
        Paragraph(
            text=f"Chosen: {measurement.label}, {times}{within}; {_quality_words(facts)}.",
            is_lead=True,
        )
    ]


def variant_table(record: Record) -> Table | None:
    """Return the variants that ran: speed, memory, quality, and what became of each."""
    ran = [(one, facts) for one, facts in tuned(record) if facts.get("ratio")]
    if not ran:
        return None
    ran.sort(key=lambda pair: (_rank(pair[1]["status"]), pair[1]["ratio"]))
    facts = [one for _, one in ran]
    figures = {one.label: one for one in read_figures(record)}
    shown = [figures.get(one.label) for one, _ in ran]
    return build_table(
        "Variants that ran",
        [
            text_column("Variant", (one.label for one, _ in ran)),
            text_column("Verdict", (_verdict(one) for one in facts)),
            number_column(
                "Times as fast",
                (format_ratio(_speedup(one), _speedup_interval(one)) for one in facts),
            ),
            number_column(
                "95% interval", (format_interval(_speedup_interval(one)) for one in facts)
            ),
            number_column("Texts/s", map(_rate, shown)),
            share_column("Of ceiling", (one.ceiling_share if one else None for one in shown)),
            unit_column("Memory", [one.peak_memory_bytes for one, _ in ran], BYTES),
            share_column("Lost", (_quality(one).get("loss") for one in facts)),
            share_column("Lost at most", (_quality(one).get("loss_bound") for one in facts)),
            number_column("Ready in", (format_seconds(one.get("prepare_s")) for one in facts)),
        ],
    )


def phase_table(record: Record) -> Table | None:
    """Return the time to the first token and of each later one, where models generate."""
    timed = [(one, facts) for one, facts in tuned(record) if facts.get("first_token_s")]
    if not timed:
        return None
    return build_table(
        "Reading and writing",
        [
            text_column("Variant", (one.label for one, _ in timed)),
            number_column("First token", (format_seconds(f["first_token_s"]) for _, f in timed)),
            number_column("Each later one", (format_seconds(f["next_token_s"]) for _, f in timed)),
        ],
    )


def discarded_table(record: Record) -> Table | None:
    """Return why variants were not chosen, and what to know of those that ran."""
    told = [
        (one.label, facts.get("reason") or "", facts.get("notes") or ())
        for one, facts in tuned(record)
    ]
    rows = tuple(
        (label, "; ".join(filter(None, (reason, *notes)))) for label, reason, notes in told
    )
    rows = tuple(row for row in rows if row[1])
    if not rows:
        return None
    return Table(caption="Why", columns=("Variant", "Reason and remarks"), rows=rows)


def pareto_chart(record: Record) -> ScatterChart | None:
    """Return speed against lost quality; larger circles take more memory."""
    points = [
        (one, facts) for one, facts in tuned(record) if facts.get("ratio") and _quality(facts)
    ]
    if len(points) < 2:
        return None
    front = _front([(_speedup(f) or 0.0, _loss(f)) for _, f in points])
    return ScatterChart(
        title="Speed, quality and memory",
        description="Up: faster. Right: loses more. Larger: takes more memory, where it was "
        "measured. The line joins what nothing beats in both speed and quality.",
        x_label="quality lost at most, percent",
        y_label="times as fast as the baseline",
        limit=_budget(record),
        points=tuple(
            ScatterPoint(
                label=facts["name"],
                x=100 * _loss(facts),
                y=_speedup(facts) or 0.0,
                size=float(one.peak_memory_bytes or 0),
                text=_point_text(one, facts),
                group=0 if facts["status"] == "chosen" else 1 if at in front else 2,
                is_front=at in front,
            )
            for at, (one, facts) in enumerate(points)
        ),
    )


def _front(values: Sequence[tuple[float, float]]) -> set[int]:
    """Return the positions of (speed, loss) that no other is as good as in both."""
    return {
        at
        for at, (speed, loss) in enumerate(values)
        if not any(
            other >= speed and less <= loss and (other, less) != (speed, loss)
            for other, less in values
        )
    }


def _point_text(measurement: Measurement, facts: Mapping[str, Any]) -> str:
    memory = measurement.peak_memory_bytes
    size = f", {format_bytes(memory)}" if memory else ""
    speed = format_ratio(_speedup(facts))
    return f"{measurement.label}: {speed} times as fast, {_quality_words(facts)}{size}"


def _budget(record: Record) -> float | None:
    budgets = [
        _quality(facts)["budget"] for _, facts in tuned(record) if _quality(facts).get("is_judged")
    ]
    return 100 * budgets[0] if budgets else None


def _quality(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return facts.get("quality") or {}


def _loss(facts: Mapping[str, Any]) -> float:
    quality = _quality(facts)
    return float(max(0.0, quality.get("loss_bound", quality.get("loss", 0.0))))


def _quality_words(facts: Mapping[str, Any]) -> str:
    quality = _quality(facts)
    if "loss_bound" not in quality:
        return "the reference itself"
    value, bound = format_percent(quality["value"]), format_percent(quality["loss_bound"])
    texts = f"{quality['texts']} texts"
    if not quality["is_judged"]:
        return f"{quality['metric']} {value} on {texts} (random weights, not judged)"
    return f"{quality['metric']} {value} on {texts}, at most {bound} lost"


def _verdict(facts: Mapping[str, Any]) -> str:
    baseline = ", baseline" if facts.get("is_baseline") else ""
    return f"{facts['status']}{baseline}"


def _rank(status: str) -> int:
    return _CHOSEN_FIRST.index(status) if status in _CHOSEN_FIRST else len(_CHOSEN_FIRST)


def _speedup(facts: Mapping[str, Any]) -> float | None:
    return 1 / facts["ratio"] if facts.get("ratio") else None


def _speedup_interval(facts: Mapping[str, Any]) -> tuple[float, float] | None:
    interval = facts.get("interval")
    return (1 / interval[1], 1 / interval[0]) if interval else None


def _rate(figures: Figures | None) -> str:
    if figures is None or figures.items_per_s is None:
        return MISSING
    return format_number(figures.items_per_s)
