"""Predicting a file on a Ray cluster: actors with a copy of the model each, one writer.

The file is divided here, at ends of rows; actors read their parts, answer them and send the lines
back; they are written here, in order, and nowhere else. An actor that dies loses nothing: Ray runs
its part again elsewhere, and what has been written is never asked for again.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import UsageError
from ivme.tune.answer_lines import AnswerLines, output_format
from ivme.tune.file_prediction import (
    AnsweredChunk,
    Chunk,
    FileJob,
    FileProgress,
    answer_chunk,
    predict_file,
    read_chunks,
)
from ivme.tune.plan import load_plan, read_plan
from ivme.tune.rows import Position, Row, RowReader, check_source

if TYPE_CHECKING:
    import numpy as np

MOST_BLOCKS = 10_000
OBJECT_STORE_BYTES = 2**28  # of a cluster of our own: only lines of text pass through it


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What an actor needs to know, and how many there are."""

    source: Path
    column: str | None
    folder: Path
    limits: dict[str, int | None]
    output_format: str
    actors: int
    cores: int  # of each


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part of the file: how many rows, and where they end."""

    rows: int
    end: Position
    input_sha256: str


class Answerer:
    """An actor: a copy of the model that answers parts of the file. Ray makes and calls it."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        predictor = load_plan(work.folder)
        self._predict = predictor.batched(**work.limits)
        self._lines = AnswerLines(work.output_format, predictor.plan.kind, predictor.labels)

    def __call__(self, batch: "dict[str, np.ndarray]") -> dict[str, list[bytes]]:
        """Return the answered chunk of each part; batch: "offset", "line" and "rows" of each."""
        answered = []
        for offset, line, rows in zip(batch["offset"], batch["line"], batch["rows"], strict=True):
            start = Position(offset_bytes=int(offset), line=int(line))
            answered.append(self._answer(start, int(rows)))
        return {"answered": answered}

    def _answer(self, start: Position, rows: int) -> bytes:
        work = self._work
        with RowReader(work.source, work.column, start, is_part=True) as reader:
            chunk = next(read_chunks(reader, rows, most_characters=math.inf))
        lines = answer_chunk(self._predict, self._lines, chunk)
        content = {
            "lines": lines.lines,
            "bad_rows": [[row.line, row.error] for row in lines.bad_rows],
            "end": lines.end.offset_bytes,
        }
        return json.dumps(content).encode()


def predict_file_on_ray(
    job: FileJob,
    folder: Path,
    *,
    limits: Mapping[str, int | None],
    address: str,
    workers: int | None = None,
    tell: Callable[[FileProgress], None] = lambda progress: None,
) -> FileProgress:
    """Answer the rows of a file as predict_file does, on the actors of a Ray cluster.

    folder: of the plan; it and the file must be readable on every machine under the same paths.
    address: "local" for a cluster of this machine that ends with the call, "auto" or HOST:PORT for
    one that runs. workers: actors, each with the plan's threads; None: as many as the cluster has
    processors for.

    Raises:
        UsageError: Ray is not installed, no cluster answers at the address, or no machine of it
            has processors for one actor.
    """
    check_source(job.source, job.column)
    plan = read_plan(folder)
    lines = AnswerLines(output_format(job.output), plan.kind, labels=())  # for the header alone
    cores = plan.variant.threads * plan.variant.batching.streams
    with connected_cluster(address, workers and workers * cores) as processors:
        room = actors_with_room(processors, cores)
        work = _Work(
            source=job.source.absolute(),
            column=job.column,
            folder=folder.absolute(),
            limits=dict(limits),
            output_format=output_format(job.output),
            actors=workers or room,
            cores=cores,
        )

        def answer(reader: RowReader) -> Iterator[AnsweredChunk]:
            start = reader.position
            parts = [_part(chunk) for chunk in read_chunks(reader, job.chunk_rows)]
            return _answers(work, parts, start)

        return predict_file(job, job.identity(plan), answer, lines, tell)


def actors_with_room(processors: Sequence[float], cores: int) -> int:
    """Return how many actors of so many cores fit into machines with so many processors.

    Raises:
        UsageError: not one of them fits, and Ray would wait for ever for a machine that is larger.
    """
    room = sum(int(count) // cores for count in processors)
    if not room:
        raise UsageError(
            f"the plan runs on {cores} threads, and the largest machine of the Ray cluster has "
            f"{max(processors, default=0):g} processors; leave out --ray, add a larger machine, or "
            "tune again with `ivme tune --threads`"
        )
    return room


def _part(chunk: Chunk) -> _Part:
    return _Part(rows=len(chunk.rows), end=chunk.end, input_sha256=chunk.input_sha256)


def _answers(work: _Work, parts: list[_Part], start: Position) -> Iterator[AnsweredChunk]:
    """Return the answered parts in order, while actors work on those that follow."""
    import ray

    if not parts:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    starts = [start, *(part.end for part in parts[:-1])]
    items = [
        {"offset": start.offset_bytes, "line": start.line, "rows": part.rows}
        for start, part in zip(starts, parts, strict=True)
    ]
    answered = ray.data.from_items(
        items, override_num_blocks=min(len(items), MOST_BLOCKS)
    ).map_batches(
        Answerer,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=work.actors),
        num_cpus=work.cores,
    )
    for part, row in zip(parts, answered.iter_rows(), strict=True):
        yield _checked(work, part, json.loads(row["answered"]))


def _checked(work: _Work, part: _Part, content: dict[str, Any]) -> AnsweredChunk:
    if content["end"] != part.end.offset_bytes:
        raise UsageError(
            f"{work.source} is another file on the machine that read it than here; put one copy "
            "where every machine reads it under the same path"
        )
    return AnsweredChunk(
        lines=content["lines"],
        rows=part.rows,
        bad_rows=tuple(Row(line=line, error=error) for line, error in content["bad_rows"]),
        end=part.end,
        input_sha256=part.input_sha256,
    )


@contextmanager
def connected_cluster(address: str, processors: int | None) -> Iterator[list[float]]:
    """Connect to a cluster, or start one for "local"; yield the processors of each machine.

    processors: that a cluster of our own is to have; None: those of this machine.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it lectures; errors are raised anyway
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(
            f"--ray needs {error.name}, which is not installed here: pip install 'ivme[ray]'"
        ) from error
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    if processors is not None:
        own["num_cpus"] = processors
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == "local" else {}),
        )
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address!r} ({str(error).splitlines()[0]}); start one with "
            "`ray start --head`, or give --ray local"
        ) from error
    try:
        yield [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()
