"""Records on a terminal: the report's own tables and sentences, in 80 columns."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

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
    "new_tokens": "New tokens",
}
NUMBERS = ("batch_size", "tokens", "new_tokens", "threads")


def notices() -> "Console":
    """Return the console for progress and remarks, beside what may be piped on."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def results() -> "Console":
    """Return the console for what was asked for."""
    from rich.console import Console

    return Console(highlight=False)


def print_figures(console: "Console", record: "Record") -> None:
    """Print the models, their speed and cost, what was compared and what failed."""
    for table in figure_tables(record):
        print_table(console, table)
    for comparison in record.comparisons:
        print_comparison(console, comparison)
    for measurement in record.measurements:
        if measurement.failure is not None:
            print_failure(console, measurement)
    if not record.is_complete:
        console.print("\nInterrupted: this is what was measured until then.", style="yellow")


def figure_tables(record: "Record") -> "list[Table]":
    """Return the tables of models, latency and cost that the record fills."""
    from ivme.report.document import Table
    from ivme.report.figures import read_figures
    from ivme.report.sections.architectures import architecture_section
    from ivme.report.sections.tables import cost_table, latency_table

    section, figures = architecture_section(record), read_figures(record)
    models = [block for block in section.blocks if isinstance(block, Table)] if section else []
    if not figures:
        return models
    speed = [latency_table(figures), cost_table(figures)]
    return models + [_split_settings(table, figures) for table in speed]


def print_table(console: "Console", table: "Table") -> None:
    """Print one table under its caption; headings wrap, figures never do."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="cyan")
    for index, name in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        is_numeric = index in table.numeric
        unbroken = cells if is_numeric else [word for cell in cells for word in cell.split()]
        grid.add_column(
            Text(name),
            justify="right" if is_numeric else "left",
            min_width=max(map(len, [*unbroken, *name.split()]), default=1),
        )
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(f"\n{table.caption}", style="bold", markup=False)
    console.print(grid)


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


def _split_settings(table: "Table", figures: "Sequence[Figures]") -> "Table":
    """Return the table with a narrow column for each setting in place of the labels' one."""
    from dataclasses import replace

    from ivme.report.figures import varying_settings

    configurations = [one.configuration for one in figures]
    settings = varying_settings(configurations) or ("batch_size",)
    rows = tuple(
        (*(_cell(configuration.get(name)) for name in settings), *row[1:])
        for configuration, row in zip(configurations, table.rows, strict=True)
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


def _cell(value: object) -> str:
    return "" if value is None else str(value)
