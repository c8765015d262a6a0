"""Tables of figures: one unit a column, columns without data left out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ivme.report.document import Table
from ivme.report.figures import Figures
from ivme.report.formatting import (
    BYTES,
    MISSING,
    SECONDS,
    Unit,
    choose_unit,
    format_in,
    format_interval,
    format_number,
    format_percent,
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its heading and its cells, one a row."""

    name: str
    cells: tuple[str, ...]
    is_numeric: bool = True


def build_table(caption: str, columns: Sequence[Column]) -> Table:
    """Return the table of those columns that hold anything."""
    kept = [one for one in columns if any(cell != MISSING for cell in one.cells)]
    return Table(
        caption=caption,
        columns=tuple(one.name for one in kept),
        rows=tuple(zip(*(one.cells for one in kept), strict=True)),
        numeric=frozenset(index for index, one in enumerate(kept) if one.is_numeric),
    )


def text_column(name: str, cells: Iterable[str]) -> Column:
    """Return a column of words."""
    return Column(name=name, cells=tuple(cell or MISSING for cell in cells), is_numeric=False)


def number_column(name: str, cells: Iterable[str]) -> Column:
    """Return a column of formatted figures."""
    return Column(name=name, cells=tuple(cell or MISSING for cell in cells))


def unit_column(name: str, values: Sequence[float | None], units: tuple[Unit, ...]) -> Column:
    """Return a column of SI values in the unit that fits their middle, named in its heading."""
    unit = choose_unit(values, units)
    return Column(name=f"{name}, {unit.symbol}", cells=tuple(format_in(v, unit) for v in values))


def share_column(name: str, shares: Iterable[float | None]) -> Column:
    """Return a column of percentages."""
    return Column(name=name, cells=tuple(map(format_percent, shares)))


def latency_table(figures: Sequence[Figures]) -> Table:
    """Return steady-state latency: one unit for all, so that rows and columns compare."""
    unit = choose_unit([one.median_s for one in figures], SECONDS)

    def column(name: str, read: Callable[[Figures], float | None]) -> Column:
        cells = (format_in(read(one), unit) for one in figures)
        return number_column(f"{name}, {unit.symbol}", cells)

    return build_table(
        "Latency of a call, steady state",
        [
            text_column("Configuration", (one.label for one in figures)),
            number_column(
                f"Median, {unit.symbol}",
                (format_in(one.median_s, unit, one.interval_s) for one in figures),
            ),
            number_column(
                f"95% interval, {unit.symbol}",
                (_interval_in(one.interval_s, unit) for one in figures),
            ),
            column("p90", lambda one: one.p90_s),
            column("p99", lambda one: one.p99_s),
            column("Min", lambda one: one.min_s),
            number_column("Calls", (f"{len(one.latency_s):,}" for one in figures)),
        ],
    )


def throughput_table(figures: Sequence[Figures]) -> Table:
    """Return throughput, and what part of the machine it takes."""
    return build_table(
        "Throughput",
        [
            text_column("Configuration", (one.label for one in figures)),
            number_column("texts/s", (format_number(one.items_per_s) for one in figures)),
            number_column("tokens/s", (format_number(one.tokens_per_s) for one in figures)),
            share_column("Padding", (one.padding_share or None for one in figures)),
            share_column("Of the ceiling", (one.ceiling_share for one in figures)),
            share_column("Processor in use", (one.processor_share for one in figures)),
            share_column("GPU in use", (one.gpu_share for one in figures)),
        ],
    )


def start_table(figures: Sequence[Figures]) -> Table:
    """Return what it takes until the first answer: time and memory."""
    return build_table(
        "Start and memory",
        [
            text_column("Configuration", (one.label for one in figures)),
            unit_column("Load", [one.load_s for one in figures], SECONDS),
            unit_column("First call", [one.first_call_s for one in figures], SECONDS),
            unit_column("Peak memory", [one.peak_memory_bytes for one in figures], BYTES),
            unit_column("CUDA memory", [one.cuda_peak_memory_bytes for one in figures], BYTES),
        ],
    )


def _interval_in(interval: tuple[float, float] | None, unit: Unit) -> str:
    return format_interval(interval, lambda bound, around: format_in(bound, unit, around))
