"""`ivme report`: records to a page that can be sent to someone."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    records: Annotated[
        list[Path],
        typer.Argument(metavar="RECORD", help="Files that measuring commands wrote."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Where to write: .html (one self-contained page), .md (charts beside it) or "
            ".json (all records in one file).",
        ),
    ] = Path("report.html"),
) -> None:
    """Turn records into one report with tables and charts."""
    from ivme.cli.handing_over import check_writable
    from ivme.measure.records import load_record
    from ivme.report.writing import check_output, write_report

    check_output(output)
    check_writable(output, *records)
    written = write_report([load_record(path) for path in records], output)
    charts = f" and {len(written) - 1} charts beside it" if len(written) > 1 else ""
    print(f"wrote {written[-1]}{charts}")
