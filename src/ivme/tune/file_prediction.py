"""Predicting the rows of a file of any size: in order, in chunks, going on where it stopped."""

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ivme.errors import UsageError, WorkloadError
from ivme.tune.answer_lines import output_format
from ivme.tune.plan import Plan, plan_to_json
from ivme.tune.resuming import ResumableOutput, Standing
from ivme.tune.rows import Position, Row, RowReader

CHUNK_ROWS = 512  # read, sorted and written together
CHUNK_CHARACTERS = 2**22
SHOWN_ERRORS = 5

Predict = Callable[[Sequence[str]], Sequence[Any]]  # an answer for each text, as Lines take them


class Lines(Protocol):
    """Makes the lines of an output: what stands above them, and one for each row."""

    def header(self) -> str:
        """Return what stands above all lines."""
        ...

    def line(self, row: Row, answer: Any) -> str:
        """Return the line for a row; answer: what was predicted, or as a str why there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Rows that are answered and written together, and where the input stands behind them."""

    rows: tuple[Row, ...]
    end: Position
    input_sha256: str


@dataclass(frozen=True, kw_only=True)
class AnsweredChunk:
    """The lines for a chunk of rows."""

    lines: str
    rows: int
    bad_rows: tuple[Row, ...]  # each with its error
    end: Position
    input_sha256: str


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """What is to be predicted, and how it is written.

    output: a .jsonl or .csv file; None: JSON lines to the terminal. is_strict: stop at the first
    row that cannot be answered, instead of writing its error in its place.
    """

    source: Path
    output: Path | None
    column: str | None = None
    is_strict: bool = False
    overwrite: bool = False
    chunk_rows: int = CHUNK_ROWS

    def identity(self, plan: Plan) -> dict[str, Any]:
        """Return what must be the same for a run to go on."""
        return {
            "plan": hashlib.sha256(plan_to_json(plan).encode()).hexdigest()[:16],
            "column": self.column,
            "format": output_format(self.output),
        }


@dataclass(frozen=True, kw_only=True)
class FileProgress:
    """How far a file has been predicted, earlier runs included."""

    rows: int
    bad_rows: int
    read_bytes: int
    size_bytes: int
    resumed_rows: int = 0  # of earlier runs
    first_errors: tuple[str, ...] = ()  # of this run


AnswerChunks = Callable[[RowReader], Iterator[AnsweredChunk]]


def predict_file(
    job: FileJob,
    identity: Mapping[str, Any],
    answer_chunks: AnswerChunks,
    lines: Lines,
    tell: Callable[[FileProgress], None] = lambda progress: None,
) -> FileProgress:
    """Answer the rows of a file in order, each exactly once; return how far it came: to the end.

    identity: what must be the same for a run to go on, such as FileJob.identity returns.
    answer_chunks: from a reader to answered chunks in order; see here_in_chunks. A run that was
    stopped in any way goes on where its output ends, if it is called again.

    Raises:
        WorkloadError: the file cannot be read, or a row cannot be answered and the job is strict.
        UsageError: the output is there already, was begun in another way, or is the input itself.
    """
    _refuse_same_file(job)
    if job.output is None:
        with RowReader(job.source, job.column) as reader:
            return _run(job, reader, answer_chunks, lines, None, tell)
    with ResumableOutput(job.output, dict(identity), overwrite=job.overwrite) as output:
        standing = output.standing
        with RowReader(job.source, job.column, standing.position) as reader:
            _check_same_input(job, reader, standing)
            progress = _run(job, reader, answer_chunks, lines, output, tell)
        output.finish()
    return progress


def here_in_chunks(predict: Predict, lines: Lines, chunk_rows: int) -> AnswerChunks:
    """Return the way to answer chunks one by one in this process."""

    def answer(reader: RowReader) -> Iterator[AnsweredChunk]:
        for chunk in read_chunks(reader, chunk_rows):
            yield answer_chunk(predict, lines, chunk)

    return answer


def read_chunks(
    reader: RowReader, most_rows: int = CHUNK_ROWS, most_characters: float = CHUNK_CHARACTERS
) -> Iterator[Chunk]:
    """Return the rows of the reader in chunks; each is read when it is asked for."""
    rows: list[Row] = []
    characters = 0
    for row in reader:
        rows.append(row)
        characters += len(row.text)
        if len(rows) == most_rows or characters >= most_characters:
            yield _chunk(rows, reader)
            rows, characters = [], 0
    if rows:
        yield _chunk(rows, reader)


def answer_chunk(predict: Predict, lines: Lines, chunk: Chunk) -> AnsweredChunk:
    """Return the lines for a chunk of rows."""
    answers = answer_rows(predict, chunk.rows)
    pairs = list(zip(chunk.rows, answers, strict=True))
    return AnsweredChunk(
        lines="".join(lines.line(row, answer) for row, answer in pairs),
        rows=len(pairs),
        bad_rows=tuple(
            Row(line=row.line, error=answer) for row, answer in pairs if isinstance(answer, str)
        ),
        end=chunk.end,
        input_sha256=chunk.input_sha256,
    )


def answer_rows(predict: Predict, rows: Sequence[Row]) -> list[Any]:
    """Return for each row its prediction, or the reason why it has none, in order.

    A text that the model cannot read, such as one without a mask, is found by running the texts
    one by one.
    """
    texts = [row.text for row in rows if row.error is None]
    answers: Iterator[Any]
    try:
        answers = iter(predict(texts))
    except WorkloadError:
        answers = (_answer_or_reason(predict, text) for text in texts)
    return [row.error if row.error is not None else next(answers) for row in rows]


def _chunk(rows: Sequence[Row], reader: RowReader) -> Chunk:
    return Chunk(
        rows=tuple(rows), end=reader.position, input_sha256=reader.digest.copy().hexdigest()
    )


def _answer_or_reason(predict: Predict, text: str) -> Any:
    try:
        return predict([text])[0]
    except WorkloadError as error:
        return str(error)


def _refuse_same_file(job: FileJob) -> None:
    if job.output is None or not (job.output.exists() and job.source.exists()):
        return
    if job.output.samefile(job.source):
        raise UsageError(
            f"{job.output} is the file that is read, which writing would destroy; name another "
            "output"
        )


def _check_same_input(job: FileJob, reader: RowReader, standing: Standing) -> None:
    if standing.position.offset_bytes and reader.digest.hexdigest() != standing.input_sha256:
        raise UsageError(
            f"{job.source} is not the file that {job.output} was begun with; name another output, "
            "or add --overwrite to start anew"
        )


def _run(
    job: FileJob,
    reader: RowReader,
    answer_chunks: AnswerChunks,
    lines: Lines,
    output: ResumableOutput | None,
    tell: Callable[[FileProgress], None],
) -> FileProgress:
    resumed = output.standing if output else Standing(job={})
    header = "" if resumed.output_bytes else lines.header()
    rows, bad_rows, position = resumed.rows, resumed.bad_rows, resumed.position
    errors: list[str] = []

    def progress() -> FileProgress:
        return FileProgress(
            rows=rows,
            bad_rows=bad_rows,
            read_bytes=position.offset_bytes,
            size_bytes=reader.size_bytes,
            resumed_rows=resumed.rows,
            first_errors=tuple(errors),
        )

    tell(progress())
    for chunk in answer_chunks(reader):
        _refuse_bad_rows(job, chunk)
        _write(output, header + chunk.lines, chunk)
        header = ""
        rows, bad_rows, position = rows + chunk.rows, bad_rows + len(chunk.bad_rows), chunk.end
        shown = itertools.islice(chunk.bad_rows, SHOWN_ERRORS - len(errors))
        errors += [f"line {row.line}: {row.error}" for row in shown]
        tell(progress())
    return progress()


def _refuse_bad_rows(job: FileJob, chunk: AnsweredChunk) -> None:
    if job.is_strict and chunk.bad_rows:
        row = chunk.bad_rows[0]
        raise WorkloadError(
            f"{job.source}, line {row.line}: {row.error}; mend it, or leave out --strict, which "
            "writes the reason in its place"
        )


def _write(output: ResumableOutput | None, content: str, chunk: AnsweredChunk) -> None:
    if output is None:
        sys.stdout.write(content)
        sys.stdout.flush()
        return
    output.add(
        content, chunk.end, chunk.input_sha256, rows=chunk.rows, bad_rows=len(chunk.bad_rows)
    )
