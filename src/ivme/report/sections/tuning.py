"""Tuning: every variant that a search tried, what became of it, and what there is to choose from.

Reads what `ivme tune` leaves beside each measurement, under the name "tune".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.measure.statistics import median
from ivme.report.charts.specifications import ScatterChart, ScatterPoint
from ivme.report.document import Block, Paragraph, Plots, Section, Table
from ivme.report.figures import samples
from ivme.report.formatting import (
    BYTES,
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

_SEPARATOR = " · "  # between the parts of a label
_LEFT_OUT = ("refused", "skipped", "slower", "lossy", "too large")
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
    tables = [table for build in TABLES if (table := build(record)) is not None]
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
    ran = [
        (label, one, facts)
        for (label, facts), (one, _) in zip(_labelled(record), tuned(record), strict=True)
        if facts.get("ratio")
    ]
    if not ran:
        return None
    ran.sort(key=lambda row: (_rank(row[2]["status"]), row[2]["ratio"]))
    facts = [row[2] for row in ran]
    return build_table(
        "Variants that ran",
        [
            text_column("Variant", (label for label, _, _ in ran)),
            text_column("Verdict", map(_verdict, facts)),
            number_column(
                "Times as fast",
                (format_ratio(_speedup(one), _speedup_interval(one)) for one in facts),
            ),
            number_column(
                "95% interval", (format_interval(_speedup_interval(one)) for one in facts)
            ),
            number_column("Texts/s", (format_number(_rate(one)) for _, one, _ in ran)),
            number_column("Lost at most", (_loss_text(_quality(one)) for one in facts)),
            unit_column("Memory", [one.peak_memory_bytes for _, one, _ in ran], BYTES),
            share_column("Of ceiling", (_ceiling_share(one) for _, one, _ in ran)),
        ],
    )


def phase_table(record: Record) -> Table | None:
    """Return the time to the first token and of each later one, where models generate."""
    timed = [(label, facts) for label, facts in _labelled(record) if facts.get("first_token_s")]
    if not timed:
        return None
    return build_table(
        "Reading and writing",
        [
            text_column("Variant", (label for label, _ in timed)),
            number_column("First token", (format_seconds(f["first_token_s"]) for _, f in timed)),
            number_column("Each later one", (format_seconds(f["next_token_s"]) for _, f in timed)),
        ],
    )


def start_table(record: Record) -> Table | None:
    """Return what it takes until the first answer."""
    started = [
        (label, _first(one, "load"), _first(one, "first_call"))
        for (label, _), (one, _) in zip(_labelled(record), tuned(record), strict=True)
    ]
    started = [row for row in started if row[2] is not None]
    if not started:
        return None
    return build_table(
        "Getting ready",
        [
            text_column("Variant", (label for label, _, _ in started)),
            number_column("Export or compile", (format_seconds(load) for _, load, _ in started)),
            number_column("First pass", (format_seconds(first) for _, _, first in started)),
        ],
    )


def discarded_table(record: Record) -> Table | None:
    """Return why variants were not chosen, those with the same reason together."""
    reasons = [
        (facts["reason"], label)
        for label, facts in _labelled(record)
        if facts["status"] in _LEFT_OUT and facts.get("reason")
    ]
    return _grouped("Left out", "Why", reasons)


def remark_table(record: Record) -> Table | None:
    """Return what engines had to say of the variants that ran."""
    remarks = [
        (note, label) for label, facts in _labelled(record) for note in facts.get("notes") or ()
    ]
    return _grouped("Remarks", "Remark", remarks)


def _grouped(caption: str, heading: str, pairs: Sequence[tuple[str, str]]) -> Table | None:
    """Return a table of texts and the variants that each is about."""
    about: dict[str, list[str]] = {}
    for text, label in pairs:
        about.setdefault(text, []).append(label)
    if not about:
        return None
    rows = tuple(("; ".join(dict.fromkeys(labels)), text) for text, labels in about.items())
    return Table(caption=caption, columns=("Variants", heading), rows=rows)


def _labelled(record: Record) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the variants by their labels, without what all of them share."""
    variants = tuned(record)
    parts = [one.label.split(_SEPARATOR) for one, _ in variants]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [
        (_SEPARATOR.join([own[0], *(part for part in own[1:] if part not in shared)]), facts)
        for own, (_, facts) in zip(parts, variants, strict=True)
    ]


TABLES = (variant_table, phase_table, start_table, discarded_table, remark_table)


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


def _loss_text(quality: Mapping[str, Any]) -> str:
    """Return the bound in percent: two decimals, because budgets are fractions of a percent."""
    return f"{quality['loss_bound']:.2%}" if "loss_bound" in quality else ""


def _quality_words(facts: Mapping[str, Any]) -> str:
    quality = _quality(facts)
    if "loss_bound" not in quality:
        return "the reference itself"
    is_share = quality["metric"] != "perplexity"
    value = format_percent(quality["value"]) if is_share else f"{quality['value']:,.2f}"
    bound = _loss_text(quality)
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


def _first(measurement: Measurement, name: str) -> float | None:
    found = samples(measurement, name)
    return found[0] if found else None


def _rate(measurement: Measurement) -> float | None:
    """Return texts a second over all passes."""
    passes_s = samples(measurement, "pass")
    if not passes_s or not measurement.items_per_call:
        return None
    return measurement.items_per_call * len(passes_s) / sum(passes_s)


def _ceiling_share(measurement: Measurement) -> float | None:
    """Return the rate of operations over this machine's best in that precision."""
    passes_s, ceiling = samples(measurement, "pass"), measurement.facts.get("ceiling_flops")
    operations = measurement.floating_point_operations_per_call
    return operations / median(passes_s) / ceiling if passes_s and operations and ceiling else None
