"""`ivme ensemble predict`: what an ensemble says of a text, of standard input, or of a file."""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivme.cli.arguments import refuse_without
from ivme.cli.ensemble_progress import changing_line
from ivme.cli.handing_over import check_writable
from ivme.cli.printing import notices, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ivme.ensemble.predictor import Predictor
    from ivme.tune.file_prediction import FileProgress

Answer = dict[str, Any]


def predict(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder that `ivme ensemble train` wrote.")
    ],
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]", help="The text; - reads standard input.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Texts instead: a .txt, .csv, .tsv or .jsonl file of any size."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help='Column of --file; "text" unless given. A number: no header.'),
    ] = None,
    voting: Annotated[
        str, typer.Option(help="majority of the members, or stacking, which weighs them.")
    ] = "majority",
    details: Annotated[
        bool,
        typer.Option("--details", help="Also calibrated probabilities, timings and remarks."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Of --file: a .jsonl or .csv file; else JSON."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a row of --file without an answer.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where the output is there or was begun.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads in all; one a core unless given.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")
    ] = "auto",
    allow_shorter: Annotated[
        bool,
        typer.Option(
            "--allow-shorter", help="Where memory runs out, texts may be cut to 256 tokens."
        ),
    ] = False,
) -> None:
    """Say which label a text has, by each member and all together.

    A run over a file that was stopped goes on where its output ends: give the same command again.
    """
    from ivme.errors import UsageError

    written = None if file is not None else _text(text)
    _check_use(text, file, column=column, strict=strict, overwrite=overwrite)
    if json and file is not None and output is not None:
        raise UsageError(
            f"--json belongs to a text; --file writes what {output} ends in: leave it out"
        )
    check_writable(output)
    settings = {"threads": threads, "device": device, "allow_shorter": allow_shorter}
    with _loaded(folder, voting=voting, **settings) as predictor:
        if file is not None:
            job = {"column": column, "is_strict": strict, "overwrite": overwrite}
            _answer_file(predictor, file, output, job, has_details=details)
            return
        assert written is not None
        answer = predictor.predict_all(written, details=True)
        names = predictor.label_names
    _hand_over(answer, names, output, as_json=json, has_details=details)


@contextmanager
def _loaded(folder: Path, **settings: Any) -> "Iterator[Predictor]":
    """Give the predictor with its members open, while a line says what is loaded."""
    from ivme.ensemble.predictor import Predictor

    told: list[Callable[[str], None]] = [lambda line: None]
    with Predictor.load(folder, progress=lambda line: told[-1](line), **settings) as predictor:
        with changing_line() as tell:
            told.append(tell)
            predictor.initialize()
            told.pop()
        yield predictor


def _text(given: str | None) -> str:
    """Return the text of the command line, or of standard input for "-" or a pipe."""
    from ivme.errors import UsageError, WorkloadError

    if given is not None and given != "-":
        return given
    if given is None and sys.stdin.isatty():
        raise UsageError("no text; give one in quotes, - to read standard input, or --file FILE")
    content = sys.stdin.buffer.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorkloadError(
            f"standard input is not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from error


def _check_use(
    text: str | None, file: Path | None, *, column: str | None, strict: bool, overwrite: bool
) -> None:
    from ivme.errors import UsageError

    if text is not None and file is not None:
        raise UsageError(f"a text and --file {file}; give one of them")
    if file is None:
        refuse_without("--file", {"--column": column, "--strict": strict, "--overwrite": overwrite})


def _answer_file(
    predictor: "Predictor",
    file: Path,
    output: Path | None,
    options: dict[str, Any],
    *,
    has_details: bool,
) -> None:
    from ivme.cli.predict import tell_end, with_file_progress
    from ivme.ensemble.file_answers import CHUNK_ROWS, answer_file
    from ivme.tune.file_prediction import FileJob

    for name, reason in predictor.members_down.items():
        notices().print(f"{name} is left out: {reason}", style="yellow", markup=False)
    job = FileJob(source=file, output=output, chunk_rows=CHUNK_ROWS, **options)

    def run(tell: Any) -> "FileProgress":
        return answer_file(job, predictor, has_details=has_details, tell=tell)

    tell_end(job, with_file_progress(job, run))


def _hand_over(
    answer: Answer,
    label_names: "Mapping[str, str]",
    output: Path | None,
    *,
    as_json: bool,
    has_details: bool,
) -> None:
    """Print the answer, for people or as JSON, and keep it if a file was named."""
    import json

    from ivme.whole_file import write_whole

    shown = answer if has_details else {key: answer[key] for key in answer if key != "details"}
    content = json.dumps(shown, indent=1, ensure_ascii=False)
    if output is not None:
        write_whole(output, content + "\n")
    if as_json:
        print(content)
        return
    _print_answer(answer, label_names, has_details=has_details)
    if output is not None:
        print(f"\nwrote {output}")


def _print_answer(answer: Answer, label_names: "Mapping[str, str]", *, has_details: bool) -> None:
    from rich.text import Text

    from ivme.report.formatting import format_percent

    said, details, console = answer["ensemble"], answer["details"], results()
    heading = Text(str(said["label"]), style="bold")
    heading.append(
        f"  {said['vote_count']} of {said['total_models']} members, "
        f"confidence {format_percent(said['confidence'])}",
        style="not bold",
    )
    console.print(heading)
    _print_members(answer, has_details=has_details)
    if has_details:
        _print_details(details, label_names)
    if details["too_short"]:
        console.print(
            f"\nToo short to judge: it has fewer than {details['least_words']} words.",
            style="yellow",
        )
    for name, reason in details["members_down"].items():
        console.print(f"\n{name} is left out: {reason}", style="yellow", markup=False)


def _print_members(answer: Answer, *, has_details: bool) -> None:
    from ivme.cli.printing import print_table
    from ivme.report.formatting import format_percent, format_seconds
    from ivme.report.sections.tables import build_table, number_column, text_column

    members = answer["individual_results"]
    columns = [
        text_column("Member", members),
        text_column("Says", (str(one["label"]) for one in members.values())),
        number_column(
            "Confidence", (format_percent(one["confidence"]) for one in members.values())
        ),
    ]
    if has_details:
        timings = answer["details"]["timings_ms"]
        seconds = [timings[name] / 1e3 if name in timings else None for name in members]
        columns.append(number_column("Time", map(format_seconds, seconds)))
    print_table(results(), build_table("Members", columns))


def _print_details(details: Answer, label_names: "Mapping[str, str]") -> None:
    from ivme.report.formatting import format_percent, format_seconds

    console = results()
    shares = details["probability"].items()
    written = ", ".join(f"{label_names[label]} {format_percent(share)}" for label, share in shares)
    console.print(f"\nprobability: {written}", markup=False)
    timings = details["timings_ms"]
    shared = timings.get("features")
    console.print(
        f"time: {format_seconds(timings['total'] / 1e3)}"
        + (f", {format_seconds(shared / 1e3)} of it for the features" if shared else "")
        + (", from the cache" if details["cached"] else ""),
        markup=False,
    )
    for note in details["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False)
