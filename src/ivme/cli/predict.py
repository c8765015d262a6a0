"""`ivme predict`: a tuned plan over a file of texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.handing_over import check_writable
from ivme.cli.printing import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ivme.tune.file_prediction import FileJob, FileProgress


def predict(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Texts: a .txt, .csv, .tsv or .jsonl file of any size."
        ),
    ],
    plan: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder that `ivme tune -o` wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .jsonl or .csv file; the terminal unless given."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help='Column with the texts; "text" unless given. A number: no header.'),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Texts a batch, of like length; as the plan says unless given."),
    ] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens a batch at most, padding counted.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Stop at a row that cannot be answered, instead of writing why in its place.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Start anew where the output is there or was begun."),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help='Run on a Ray cluster: "auto", "local" or HOST:PORT; FILE and plan must be '
            "readable there under the same paths.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray: copies of the model at a time.")
    ] = None,
) -> None:
    """Run a plan over a file of texts.

    One line of output for each row, in order. A run that was stopped in any way goes on where its
    output ends: give the same command again.
    """
    from ivme.errors import UsageError
    from ivme.tune.file_prediction import FileJob

    if workers is not None and ray is None:
        raise UsageError("--workers belongs to --ray; give --ray ADDRESS with it")
    job = FileJob(source=file, output=output, column=column, is_strict=strict, overwrite=overwrite)
    limits = {"batch_size": batch_size, "max_batch_tokens": max_batch_tokens}
    if ray is None:
        done = _predict_here(job, plan, limits)
    else:
        done = _predict_on_ray(job, plan, limits, ray, workers)
    tell_end(job, done)


def _predict_here(
    job: "FileJob", folder: Path, limits: "Mapping[str, int | None]"
) -> "FileProgress":
    from ivme.tune.answer_lines import AnswerLines, output_format
    from ivme.tune.file_prediction import here_in_chunks, predict_file
    from ivme.tune.plan import load_plan
    from ivme.tune.rows import check_source

    check_source(job.source, job.column)
    lines_format = output_format(job.output)
    check_writable(job.output)
    with load_plan(folder) as predictor:
        for note in predictor.notes:
            notices().print(f"note: {note}", style="yellow", markup=False)
        lines = AnswerLines(lines_format, predictor.plan.kind, predictor.labels)
        answer = here_in_chunks(predictor.batched(**limits), lines, job.chunk_rows)
        identity = job.identity(predictor.plan)
        return with_file_progress(
            job, lambda tell: predict_file(job, identity, answer, lines, tell)
        )


def _predict_on_ray(
    job: "FileJob",
    folder: Path,
    limits: "Mapping[str, int | None]",
    address: str,
    workers: int | None,
) -> "FileProgress":
    from ivme.tune.ray_prediction import predict_file_on_ray

    check_writable(job.output)
    return with_file_progress(
        job,
        lambda tell: predict_file_on_ray(
            job, folder, limits=limits, address=address, workers=workers, tell=tell
        ),
    )


def with_file_progress(
    job: "FileJob", run: "Callable[[Callable[[FileProgress], None]], FileProgress]"
) -> "FileProgress":
    """Run while a line on the terminal says how far it is; say how to go on after Ctrl-C."""
    import time

    start = time.monotonic()
    with notices().status("reading") as status:
        try:
            return run(lambda done: status.update(_progress_line(done, time.monotonic() - start)))
        except KeyboardInterrupt:
            status.stop()
            if job.output is not None:
                notices().print(
                    f"interrupted; {job.output} holds what is done: give the same command again "
                    "to go on",
                    markup=False,
                )
            raise typer.Exit(1) from None


def _progress_line(done: "FileProgress", seconds: float) -> str:
    share = done.read_bytes / done.size_bytes if done.size_bytes else 1.0
    new_rows = done.rows - done.resumed_rows
    line = f"{done.rows:,} rows, {share:.0%}"
    if new_rows and seconds:
        line += f", {new_rows / seconds:,.1f} rows/s"
    return line


def tell_end(job: "FileJob", done: "FileProgress") -> None:
    """Print the first errors, how many rows have no answer, and where the answers are."""
    for error in done.first_errors:
        notices().print(f"{job.source}, {error}", style="yellow", markup=False, soft_wrap=True)
    if done.bad_rows:
        place = "their lines say why" if job.output else "their lines say why, above"
        notices().print(f"{done.bad_rows:,} of {done.rows:,} rows have no answer; {place}")
    if job.output is not None:
        earlier = f", {done.resumed_rows:,} of them by earlier runs" if done.resumed_rows else ""
        print(f"wrote {job.output}: {done.rows:,} rows{earlier}")
