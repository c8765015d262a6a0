"""The anatomy of a training step: phases, memory, cores, operators, source lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from ivme.measure.records import Record
from ivme.measure.statistics import median
from ivme.report.charts.specifications import Part, Stack, StackChart
from ivme.report.document import Block, Paragraph, Plots, Section, Table
from ivme.report.formatting import (
    BYTES,
    SECONDS,
    format_bytes,
    format_number,
    format_percent,
    format_rate,
    format_seconds,
)
from ivme.report.sections.diagnose import diagnosed
from ivme.report.sections.tables import (
    build_table,
    number_column,
    share_column,
    text_column,
    unit_column,
)

KINDS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "activations": "activations",
}
MOST_ROWS = 12
LEAST_SHARE = 0.001  # of a ceiling; below that, work and ceiling are of different kinds


def anatomy_section(record: Record) -> Section | None:
    """Return where the time and the memory of a step go."""
    anatomy = _anatomy(record)
    if not anatomy.get("phase_s"):
        return None
    charts = (phase_chart(anatomy), memory_chart(anatomy))
    tables = [phase_table(record), core_table(record), operator_table(record), line_table(record)]
    blocks: list[Block] = [
        Plots(charts=tuple(one for one in charts if one is not None)),
        *(Paragraph(text=text) for text in anatomy_sentences(record)),
        *(table for table in tables if table is not None),
    ]
    return Section(title="Where a step goes", blocks=tuple(blocks))


def anatomy_sentences(record: Record) -> list[str]:
    """Return what the tables do not say: overhead, what watching costs, tokenization apart."""
    anatomy = _anatomy(record)
    sentences = []
    limits = anatomy.get("limits") or {}
    if limits.get("step_s"):
        share = limits["framework_s"] / limits["step_s"]
        between = format_seconds(limits["framework_s"])
        sentences.append(
            f"Between operators, in Python and the framework: {between}, {format_percent(share)} "
            "of a step."
        )
    items_s = (anatomy.get("phases") or {}).get("tokenize_item_s")
    if items_s:
        item = format_seconds(median(items_s))
        sentences.append(f"Tokens are made once, before training; an item takes {item}.")
    costs = []
    if anatomy.get("watching_cost"):
        costs.append(f"phases ×{format_number(anatomy['watching_cost'])}")  # noqa: RUF001
    if anatomy.get("operator_cost"):
        costs.append(f"operators and lines ×{format_number(anatomy['operator_cost'])}")  # noqa: RUF001
    if costs:
        sentences.append(
            f"What watching costs, in times of a step: {', '.join(costs)}. Step times "
            "elsewhere are of steps that nothing watched."
        )
    return sentences


def phase_chart(anatomy: Mapping[str, Any]) -> StackChart | None:
    """Return the stacked phases of a step, each with its share."""
    phase_s = {name: seconds for name, seconds in anatomy["phase_s"].items() if seconds > 0}
    if not phase_s:
        return None
    whole_s = sum(phase_s.values())
    parts = tuple(
        Part(label=name, value=seconds, text=format_percent(seconds / whole_s), group=index)
        for index, (name, seconds) in enumerate(phase_s.items())
    )
    return StackChart(
        title="Time of a step",
        description="Median seconds of each phase, without a profiler.",
        stacks=(Stack(label="one step", text=format_seconds(whole_s), parts=parts),),
    )


def memory_chart(anatomy: Mapping[str, Any]) -> StackChart | None:
    """Return the memory of a step by kind; what the peak holds besides is "other"."""
    memory = anatomy.get("memory")
    if not memory:
        return None
    amounts = {words: memory[name] for name, words in KINDS.items()}
    peak = memory.get("peak")
    if peak:
        amounts["other"] = max(0, peak - sum(amounts.values()))
    parts = tuple(
        Part(label=name, value=count, text=format_bytes(count), group=index)
        for index, (name, count) in enumerate(amounts.items())
        if count
    )
    if not parts:
        return None
    return StackChart(
        title="Memory of a step",
        description="Tensors by kind, and what else the process needed at its peak.",
        stacks=(Stack(label="peak" if peak else "tensors", text=format_bytes(peak), parts=parts),),
    )


def phase_table(record: Record) -> Table | None:
    """Return each phase: time, share, and how far it is from the machine's ceiling."""
    anatomy = _anatomy(record)
    phase_s = {name: one for name, one in (anatomy.get("phase_s") or {}).items() if one > 0}
    if not phase_s:
        return None
    limits = (anatomy.get("limits") or {}).get("phases", {})
    rows = [{"name": name, "seconds": one, **limits.get(name, {})} for name, one in phase_s.items()]
    return build_table(
        "Phases of a step",
        [
            text_column("Phase", (row["name"] for row in rows)),
            unit_column("Time", [row["seconds"] for row in rows], SECONDS),
            share_column("Share", (anatomy["phase_shares"][row["name"]] for row in rows)),
            unit_column("Least possible", [_least(row) for row in rows], SECONDS),
            share_column("Of the ceiling", map(_reached, rows)),
            number_column("Rate", (_flop_rate(row) for row in rows)),
        ],
    )


def memory_table(record: Record) -> Table | None:
    """Return the memory of a step by kind."""
    memory = _anatomy(record).get("memory")
    if not memory:
        return None
    names = [*KINDS, *(["peak"] if memory.get("peak") else [])]
    return build_table(
        "Memory of a step",
        [
            text_column("Kind", (KINDS.get(name, "peak of the process") for name in names)),
            unit_column("Size", [memory[name] for name in names], BYTES),
        ],
    )


def core_table(record: Record) -> Table | None:
    """Return what each core did."""
    cores = (_anatomy(record).get("cores") or {}).get("cores")
    if not cores:
        return None
    return build_table(
        "What each core did while steps ran",
        [
            text_column("Core", (str(one["core"]) for one in cores)),
            share_column("This training, running or ready", (one["own"] for one in cores)),
            share_column("All processes", (one["busy"] for one in cores)),
        ],
    )


def operator_table(record: Record) -> Table | None:
    """Return the operators that take most of a step, and how near to the ceiling each runs."""
    limits = _anatomy(record).get("limits")
    if not limits:
        return None
    rows: Sequence[Mapping[str, Any]] = limits["operators"][:MOST_ROWS]
    return build_table(
        f"Operators, the {len(rows)} of {limits['operator_count']} that take longest",
        [
            text_column("Operator", (row["operator"] for row in rows)),
            text_column("Phase", (row["phase"] for row in rows)),
            number_column("Calls", (format_number(row["calls"]) for row in rows)),
            unit_column("Time", [row["seconds"] for row in rows], SECONDS),
            share_column("Of a step", (row["seconds"] / limits["operators_s"] for row in rows)),
            share_column("Of the ceiling", map(_reached, rows)),
            text_column("Bound by", (row["bound"] for row in rows)),
        ],
    )


def line_table(record: Record) -> Table | None:
    """Return the source lines that take most of a step, forward and backward."""
    lines = _anatomy(record).get("lines")
    if not lines:
        return None
    rows = lines[:MOST_ROWS]
    return build_table(
        "Source lines, backward counted where forward called it",
        [
            text_column("Line", (row["line"] for row in rows)),
            unit_column("Forward", [row["forward_s"] or None for row in rows], SECONDS),
            unit_column("Backward", [row["backward_s"] or None for row in rows], SECONDS),
        ],
    )


def _anatomy(record: Record) -> Mapping[str, Any]:
    found = diagnosed(record)
    anatomy: Mapping[str, Any] = found[1]["anatomy"] if found else {}
    return anatomy


def _least(row: Mapping[str, Any]) -> float | None:
    """Return the least time of a row, where it is of the same kind as the time taken."""
    return row["least_s"] if _reached(row) else None


def _reached(row: Mapping[str, Any]) -> float | None:
    """Return the least time over the time taken, 1 at the ceiling."""
    least_s = row.get("least_s")
    share = least_s / row["seconds"] if least_s else 0.0
    return share if share >= LEAST_SHARE else None


def _flop_rate(row: Mapping[str, Any]) -> str:
    flops = row.get("flops")
    return format_rate(flops / row["seconds"], "FLOP/s") if flops else ""
