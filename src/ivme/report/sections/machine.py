"""Machine: its measured ceilings, and advice."""

from collections.abc import Mapping, Sequence
from typing import Any

from ivme.measure.records import Record
from ivme.report.charts.specifications import Bar, BarChart
from ivme.report.document import Block, KeyFigure, Note, Plots, Section, Table
from ivme.report.formatting import BYTES, format_number, format_rate
from ivme.report.sections.tables import Column, build_table, text_column, unit_column


def ceiling_figures(record: Record) -> list[KeyFigure]:
    """Return the best rates as key figures, for a record about the machine itself."""
    if record.measurements:
        return []
    return [*_best_products(record.machine), *_best_copies(record.machine)]


def advice_section(record: Record) -> Section | None:
    """Return what to do about this machine, warnings first as recorded."""
    advice = record.machine.get("advice") or ()
    notes = tuple(
        Note(
            text=f"{one.get('finding')} {one.get('action')}",
            word=str(one.get("severity")).capitalize(),
            is_warning=one.get("severity") == "warning",
        )
        for one in advice
    )
    return Section(title="Advice", blocks=notes) if notes else None


def ceiling_section(record: Record) -> Section | None:
    """Return the rate of every library path, and the bandwidth of every level of memory."""
    products = rates(record.machine, "products")
    copies = rates(record.machine, "copies")
    if not products and not copies:
        return None
    charts = tuple(chart for chart in (_product_bars(products), _copy_bars(copies)) if chart)
    tables = (_product_table(products), _copy_table(copies), _unavailable_table(products, copies))
    blocks: list[Block] = [Plots(charts=charts)] if charts else []
    blocks.extend(table for table in tables if table.rows)
    return Section(
        title="Measured ceilings", blocks=tuple(blocks), is_folded=bool(record.measurements)
    )


def rates(machine: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    """Return the measured rates of a kind, "products" or "copies"; none if none were measured."""
    return (machine.get("ceilings") or {}).get(kind) or ()


def _measured(found: Sequence[Mapping[str, Any]], field: str) -> list[Mapping[str, Any]]:
    return sorted((one for one in found if one.get(field)), key=lambda one: -one[field])


def _best_products(machine: Mapping[str, Any]) -> list[KeyFigure]:
    """Return the fastest path of each precision and device."""
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for rate in _measured(rates(machine, "products"), "operations_per_s"):
        best.setdefault((str(rate.get("device")), str(rate.get("precision"))), rate)
    return [
        KeyFigure(
            value=format_rate(rate["operations_per_s"], _operation_unit(rate)),
            label=f"{precision} matrix products, {device}",
            detail=f"best path: {rate.get('path')}",
        )
        for (device, precision), rate in best.items()
    ]


def _best_copies(machine: Mapping[str, Any]) -> list[KeyFigure]:
    found = [rate for rate in rates(machine, "copies") if rate.get("level") == "memory"]
    return [
        KeyFigure(
            value=format_rate(rate["bytes_per_s"], "B/s"),
            label=f"copy bandwidth, {rate.get('device')}",
            detail="main memory, read and written",
        )
        for rate in _measured(found, "bytes_per_s")
    ]


def _operation_unit(rate: Mapping[str, Any]) -> str:
    return "OP/s" if str(rate.get("precision")).startswith("int") else "FLOP/s"


def _product_bars(products: Sequence[Mapping[str, Any]]) -> BarChart | None:
    found = _measured(products, "operations_per_s")
    precisions = sorted({str(rate.get("precision")) for rate in found})
    bars = tuple(
        Bar(
            label=_path_label(rate),
            value=rate["operations_per_s"],
            text=format_rate(rate["operations_per_s"], _operation_unit(rate)),
            group=precisions.index(str(rate.get("precision"))),
        )
        for rate in found
    )
    if not bars:
        return None
    description = f"Best of all sizes; a color for each precision: {', '.join(precisions)}."
    return BarChart(title="Matrix products", description=description, x_label="", bars=bars)


def _path_label(rate: Mapping[str, Any]) -> str:
    return f"{rate.get('precision')} · {rate.get('path')} · {rate.get('device')}"


def _copy_bars(copies: Sequence[Mapping[str, Any]]) -> BarChart | None:
    bars = tuple(
        Bar(
            label=f"{rate.get('level')} · {rate.get('device')}",
            value=rate["bytes_per_s"],
            text=format_rate(rate["bytes_per_s"], "B/s"),
            group=3,
        )
        for rate in _measured(copies, "bytes_per_s")
    )
    if not bars:
        return None
    description = "Bytes read and written, by the level of memory that holds them."
    return BarChart(title="Copy bandwidth", description=description, x_label="", bars=bars)


def _product_table(products: Sequence[Mapping[str, Any]]) -> Table:
    found = _measured(products, "operations_per_s")
    return build_table(
        "Matrix products",
        [
            text_column("Path", (str(rate.get("path")) for rate in found)),
            text_column("Library", (str(rate.get("library")) for rate in found)),
            text_column("Precision", (str(rate.get("precision")) for rate in found)),
            text_column("Device", (str(rate.get("device")) for rate in found)),
            _numbers("Rate, G/s", [rate["operations_per_s"] / 1e9 for rate in found]),
            _numbers("Best size", [rate.get("best_size") for rate in found]),
            _numbers("Median over best time", [rate.get("spread") for rate in found]),
        ],
    )


def _copy_table(copies: Sequence[Mapping[str, Any]]) -> Table:
    found = _measured(copies, "bytes_per_s")
    return build_table(
        "Copies",
        [
            text_column("Level", (str(rate.get("level")) for rate in found)),
            text_column("Device", (str(rate.get("device")) for rate in found)),
            unit_column("Working set", [rate.get("working_set_bytes") for rate in found], BYTES),
            _numbers("Bandwidth, GB/s", [rate["bytes_per_s"] / 1e9 for rate in found]),
            _numbers("Median over best time", [rate.get("spread") for rate in found]),
        ],
    )


def _unavailable_table(
    products: Sequence[Mapping[str, Any]], copies: Sequence[Mapping[str, Any]]
) -> Table:
    rows = [
        (str(rate.get("path") or rate.get("level")), str(rate["unavailable"]))
        for rate in (*products, *copies)
        if rate.get("unavailable")
    ]
    return Table(caption="Not available here", columns=("Path", "Reason"), rows=tuple(rows))


def _numbers(name: str, values: Sequence[float | None]) -> Column:
    cells = tuple(
        f"{value:,}" if isinstance(value, int) else format_number(value) for value in values
    )
    return Column(name=name, cells=cells)
