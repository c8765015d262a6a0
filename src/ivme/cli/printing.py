"""Records on a terminal: the report's own tables and sentences, in 80 columns."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table as Grid

    from ivme.measure.records import Comparison, Measurement, Record
    from ivme.report.document import Table
    from ivme.report.figures import Figures

HEADINGS = {
    "model": "Model",
    "engine": "Engine",
    "dtype": "Type",
    "device": "Device",
    "batch_size": "Batch",
    "tokens": "Tokens",
    "threads": "Threads",
    "padding": "Padding",
    "order": "Order",
    "kind": "Kind",
    "work": "Work",
}
NUMBERS = ("batch_size", "tokens", "threads")
MOST_WIDTH = 28  # of a column of words, such as paths, before they break


def notices() -> "Console":
    """Return the console for progress and remarks, beside what may be piped on."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def results() -> "Console":
    """Return the console for what was asked for."""
    from rich.console import Console

    return Console(highlight=False)


def print_figures(console: "Console", record: "Record") -> None:
    """Print the models, their speed and cost, what was compared, what failed, and remarks."""
    _print_models(console, record)
    _print_speed(console, record)
    for comparison in record.comparisons:
        print_comparison(console, comparison)
    for measurement in record.measurements:
        if measurement.failure is not None:
            print_failure(console, measurement)
    if record.notes:
        console.print("\nNotes", style="bold")
        for note in record.notes:
            console.print(f"- {note}", markup=False)
    if not record.is_complete:
        console.print("\nInterrupted: this is what was measured until then.", style="yellow")


def print_table(console: "Console", table: "Table", keys: int = 1) -> None:
    """Print one table under its caption; headings wrap, figures never do.

    What does not fit beside the first `keys` columns goes below, beside the same columns again.
    """
    console.print(f"\n{table.caption}", style="bold", markup=False)
    for number, columns in enumerate(_fitting_columns(table, keys, console.width)):
        if number:
            console.print()
        console.print(_grid(table, columns, keys, console.width))


def print_comparison(console: "Console", comparison: "Comparison") -> None:
    """Print what a comparison found, and whatever weakens it."""
    from ivme.report.wording import comparison_sentence

    styles = {"faster": "green", "slower": "red", "undecided": "yellow"}
    console.print()
    console.print(
        comparison_sentence(comparison), style=styles.get(comparison.verdict, ""), markup=False
    )
    for note in comparison.notes:
        console.print(f"  {note}", style="yellow", markup=False)


def print_failure(console: "Console", measurement: "Measurement") -> None:
    """Print a configuration that did not run, and why."""
    console.print()
    console.print(f"{measurement.label}: {measurement.failure}", style="yellow", markup=False)


def _print_models(console: "Console", record: "Record") -> None:
    from ivme.report.document import Table
    from ivme.report.sections.architectures import architecture_section

    section = architecture_section(record)
    for block in section.blocks if section else ():
        if isinstance(block, Table):
            print_table(console, block)


def _print_speed(console: "Console", record: "Record") -> None:
    from ivme.report.figures import read_figures
    from ivme.report.sections.tables import latency_table, start_table, throughput_table

    figures = read_figures(record)
    if not figures:
        return
    settings = _telling_settings([one.configuration for one in figures])
    for table in (latency_table(figures), throughput_table(figures), start_table(figures)):
        print_table(console, _split_settings(table, figures, settings), len(settings))


def _telling_settings(configurations: "Sequence[Mapping[str, Any]]") -> tuple[str, ...]:
    """Return the settings that differ, without those that follow from the model, as its kind."""
    from ivme.report.figures import varying_settings

    def values(*names: str) -> set[tuple[str, ...]]:
        return {tuple(str(one.get(name)) for name in names) for one in configurations}

    names = varying_settings(configurations)
    if "model" in names:
        names = tuple(
            name
            for name in names
            if name == "model" or len(values("model", name)) > len(values("model"))
        )
    return names or ("batch_size",)


def _split_settings(
    table: "Table", figures: "Sequence[Figures]", settings: "Sequence[str]"
) -> "Table":
    """Return the table with a narrow column for each setting in place of the labels' one."""
    from dataclasses import replace

    rows = tuple(
        (*(_cell(one.configuration.get(name)) for name in settings), *row[1:])
        for one, row in zip(figures, table.rows, strict=True)
    )
    shift = len(settings) - 1
    numeric = [index + shift for index in table.numeric]
    numeric += [index for index, name in enumerate(settings) if name in NUMBERS]
    return replace(
        table,
        columns=(*(HEADINGS.get(name, name) for name in settings), *table.columns[1:]),
        rows=rows,
        numeric=frozenset(numeric),
    )


def _fitting_columns(table: "Table", keys: int, width: int) -> list[list[int]]:
    """Return the columns of the parts in which the table fits into `width` characters."""
    least = [_least_width(table, index, keys) + 1 for index in range(len(table.columns))]
    parts: list[list[int]] = [[]]
    for index in range(keys, len(table.columns)):
        if parts[-1] and sum(least[one] for one in (*range(keys), *parts[-1], index)) > width:
            parts.append([])
        parts[-1].append(index)
    return [[*range(keys), *part] for part in parts]


def _grid(table: "Table", columns: "Sequence[int]", keys: int, width: int) -> "Grid":
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="cyan")
    widths = _widths(table, columns, keys, width)
    for index in columns:
        grid.add_column(
            Text(table.columns[index]),
            justify="right" if index in table.numeric else "left",
            overflow="fold",
            width=widths[index],
        )
    for row in table.rows:
        grid.add_row(*(Text(row[index]) for index in columns))
    return grid


def _widths(table: "Table", columns: "Sequence[int]", keys: int, width: int) -> dict[int, int]:
    """Return what each column gets: what it needs, and of the rest what it could use.

    Rich would take from figures before it wraps headings.
    """
    widths = {index: _least_width(table, index, keys) for index in columns}
    spare = width - sum(widths.values()) - len(columns)
    for index in sorted(columns, key=lambda one: one not in table.numeric):
        wanted = max(map(len, (table.columns[index], *(row[index] for row in table.rows))))
        more = max(0, min(spare, wanted - widths[index]))
        widths[index] += more
        spare -= more
    return widths


def _least_width(table: "Table", index: int, keys: int) -> int:
    """Return the characters that a column needs: figures and keys whole, else the longest word."""
    cells = [row[index] for row in table.rows]
    is_whole = index in table.numeric or index < keys
    unbroken = cells if is_whole else [word for cell in cells for word in cell.split()]
    longest = max(map(len, unbroken), default=1)
    if index not in table.numeric:
        longest = min(longest, MOST_WIDTH)
    return max(longest, *map(len, table.columns[index].split()))


def _cell(value: object) -> str:
    return "" if value is None else str(value)
