"""`ivme loadtest`: a server under load, as its users would see it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.handing_over import check_writable, show_and_keep
from ivme.cli.printing import notices, print_table, results

if TYPE_CHECKING:
    from ivme.measure.records import Record
    from ivme.serve.loadtest import LoadConfig, LoadResult, LoadSummary, Progress


def loadtest(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server, as in http://127.0.0.1:8000.")
    ],
    texts: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help='Texts to send: a .txt, .csv, .tsv or .jsonl file, or "corpus".',
        ),
    ],
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second, sent whatever the server does: what users see."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Clients that each wait for their answer: what the server can do."),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds that count.")] = 30.0,
    warm_up: Annotated[float, typer.Option(help="Seconds of the same load before them.")] = 2.0,
    schedule: Annotated[
        str, typer.Option(help="With --rate: constant gaps, or poisson as of independent users.")
    ] = "constant",
    path: Annotated[
        str, typer.Option(help='The route; it gets {"text": ...} by POST.')
    ] = "/predict",
    column: Annotated[
        str | None, typer.Option(help='Column of --texts with the texts; "text" unless given.')
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take no more texts than this.")] = None,
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct",
            help="Mark each text by run and number: no answer comes from a server's cache.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a request is given up.")
    ] = 30.0,
    good_within: Annotated[
        float | None,
        typer.Option(help="Seconds within which an answer counts as goodput; any unless given."),
    ] = None,
    max_connections: Annotated[
        int, typer.Option(help="Connections to open at most; those beyond wait, and count.")
    ] = 1000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="IVME_API_KEY", help="Sent as a bearer token; kept in no record."),
    ] = None,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            help="Load a server on another machine; only for one that is yours to load.",
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Of the order of texts, and of the gaps of poisson.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Load a server on a fixed schedule, and time its answers.

    Each from the moment when its request was due, so a stall of the server shows in full: requests
    that were due meanwhile count, as users would. Only servers on this machine, unless
    --allow-remote. Ctrl-C gives the result so far.
    """
    from ivme.bench.configuration import TextSource
    from ivme.serve.loadtest import LoadConfig, run_load, summarize

    config = LoadConfig(
        url=url,
        path=path,
        rate_per_s=rate,
        concurrency=concurrency,
        duration_s=duration,
        warm_up_s=warm_up,
        schedule=schedule,
        seed=seed,
        timeout_s=timeout,
        good_within_s=good_within,
        max_connections=max_connections,
        distinct=distinct,
        allow_remote=allow_remote,
        api_key=api_key,
    )
    check_writable(output, texts)
    source = TextSource(file=texts, column=column, limit=limit)
    result = run_load(config, source.read(seed), tell=_live_line(config))
    _hand_over(result, summarize(result), output, as_json=json)


def _live_line(config: "LoadConfig") -> "Callable[[Progress], None]":
    """Return what rewrites one line of the terminal; does nothing where there is none.

    Plain writes: a display with a thread of its own would delay requests.
    """
    if not sys.stderr.isatty():
        return lambda progress: None

    def tell(progress: "Progress") -> None:
        sys.stderr.write(f"\r\x1b[K{_progress_text(config, progress)}")
        sys.stderr.flush()

    return tell


def _progress_text(config: "LoadConfig", progress: "Progress") -> str:
    from ivme.measure.statistics import percentiles
    from ivme.report.formatting import format_seconds

    if progress.elapsed_s < 0:
        text = f"warming up, {-progress.elapsed_s:.0f} s left"
    else:
        text = f"{min(progress.elapsed_s, config.duration_s):.0f} of {config.duration_s:g} s"
    ended = [f"{count:,} x {outcome}" for outcome, count in sorted(progress.ended.items())]
    text += f"  {progress.begun:,} sent, {progress.in_flight:,} open  {', '.join(ended)}"
    if progress.recent_s:
        recent = percentiles(progress.recent_s)
        text += f"  p50 {format_seconds(recent.median)}, p99 {format_seconds(recent.p99)}"
    return text


def _hand_over(
    result: "LoadResult", summary: "LoadSummary", output: Path | None, *, as_json: bool
) -> None:
    """Print the result and keep its record; leave with status 1 if it is not what was asked for."""
    from ivme.serve.loadtest import load_record_of

    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    record = load_record_of(result, command=_command(sys.argv[1:]), summary=summary)
    show_and_keep(record, output, lambda: _print_load(record), as_json=as_json)
    if not result.is_complete or summary.invalid or not summary.answered:
        raise typer.Exit(1)


def _command(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command line as a record keeps it: without the key."""
    shown, hides_next = ["ivme"], False
    for argument in arguments:
        name, separator, _ = argument.partition("=")
        is_key = name == "--api-key"
        shown.append("***" if hides_next else f"{name}=***" if is_key and separator else argument)
        hides_next = is_key and not separator
    return tuple(shown)


def _print_load(record: "Record") -> None:
    from ivme.report.sections.load import load_sentence, load_tables, loaded

    console = results()
    for measurement, load in loaded(record):
        console.print(load_sentence(measurement.label, load), markup=False)
        for table in load_tables(load):
            print_table(console, table)
        if load["invalid"]:
            console.print(f"\nInvalid: {load['invalid']}.", style="red", markup=False)
    for note in record.notes:
        notices().print(f"note: {note}", style="yellow", markup=False)
    if not record.is_complete:
        notices().print("interrupted: this is what was measured until then", style="yellow")
