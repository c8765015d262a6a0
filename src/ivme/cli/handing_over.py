"""From a measuring call to what its caller gets: progress, tables, a record, an exit status."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ivme.cli.printing import notices, print_figures, results

if TYPE_CHECKING:
    from ivme.bench.listening import Listener
    from ivme.measure.records import Record


def hand_over(
    measure: "Callable[[Listener], Record]",
    output: Path | None,
    *,
    as_json: bool,
    reads: str | None = None,
) -> "Record":
    """Measure with progress on the terminal, then print the record and keep it.

    reads: the file that is read, which the record must not replace. Leaves with exit status 1 if
    the run was interrupted or nothing ran.
    """
    check_writable(output, reads)
    record = with_progress(measure)
    show_and_keep(record, output, lambda: print_figures(results(), record), as_json=as_json)
    has_results = any(one.failure is None for one in record.measurements)
    if not record.is_complete or not has_results:
        raise typer.Exit(1)
    return record


def show_and_keep(
    record: "Record", output: Path | None, show: Callable[[], None], *, as_json: bool
) -> None:
    """Print a record, as JSON or by `show`, then keep it: a full disk costs no figure."""
    from ivme.measure.records import record_to_json, save_record

    if as_json:
        print(record_to_json(record), end="")
    else:
        show()
    if output is not None:
        save_record(record, output)
    if not as_json:
        print(_next_step(output))


def check_writable(output: Path | None, *reads: str | Path | None) -> None:
    """Raise UsageError, before any work, if no file can be written there; None: none will be.

    reads: files that are read, which writing must not replace.
    """
    from ivme.errors import UsageError

    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"cannot write {output}: it is a folder; name a file in it")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise UsageError(
            f"cannot write {output}: {nearest} is a file, no folder; name another place"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write {output}: nothing may be written in {nearest}; name another place"
        )
    if output.exists() and any(
        one is not None and Path(one).exists() and output.samefile(one) for one in reads
    ):
        raise UsageError(
            f"cannot write {output}: it is a file that is read, which writing would destroy; name "
            "another"
        )


def with_progress(measure: "Callable[[Listener], Record]") -> "Record":
    """Measure while a line on the terminal says what is being done."""
    from rich.markup import escape

    from ivme.bench.listening import Listener

    with notices().status("starting") as status:
        return measure(Listener(tell=lambda text: status.update(escape(text))))


def _next_step(output: Path | None) -> str:
    if output is None:
        return "\nKeep every raw sample with --output FILE; `ivme report FILE` makes a page of it."
    return f"\nrecord: {output}\nnext:   ivme report {output}"
