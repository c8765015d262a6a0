"""Files of texts: every row is answered once, in order, however often the run is ended."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.engines.batching import Batching
from ivme.engines.protocol import Prediction
from ivme.errors import UsageError, WorkloadError
from ivme.tune.answer_lines import AnswerLines, output_format
from ivme.tune.file_prediction import (
    FileJob,
    FileProgress,
    here_in_chunks,
    predict_file,
)
from ivme.tune.plan import Plan
from ivme.tune.variants import Variant

PLAN = Plan(
    reference="model",
    content_hash="",
    kind="causal",
    dtype="float32",
    device="cpu",
    attention="sdpa",
    variant=Variant(
        engine="transformers", precision="float32", threads=1, batching=Batching(batch_size=4)
    ),
)
LINES = {suffix: AnswerLines(suffix, "causal", ()) for suffix in ("jsonl", "csv")}


class Ended(BaseException):
    """The end of a process, as far as a test can have one in its own."""


def echo(texts: Sequence[str]) -> list[Prediction]:
    """Answer with the text in capitals; a text with no letter cannot be read."""
    for text in texts:
        if text.isdecimal():
            raise WorkloadError("a text without letters")
    return [Prediction(text=text.upper()) for text in texts]


def run(job: FileJob, predict=echo, tell=lambda progress: None) -> FileProgress:
    lines = LINES[output_format(job.output)]
    answer = here_in_chunks(predict, lines, job.chunk_rows)
    return predict_file(job, job.identity(PLAN), answer, lines, tell)


def source_of(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@settings(deadline=None, max_examples=30)  # a loaded machine is no failure
@given(
    texts=st.lists(st.sampled_from(["a", "bb", "", "7", "çay 🎉", '"q", x']), max_size=30),
    chunk_rows=st.integers(1, 7),
    ends=st.lists(st.integers(0, 6), max_size=4),
    suffix=st.sampled_from(["jsonl", "csv"]),
)
def test_a_run_that_is_ended_often_writes_what_one_run_writes(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    chunk_rows: int,
    ends: list[int],
    suffix: str,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    source = source_of(folder, texts)
    whole = FileJob(source=source, output=folder / f"whole.{suffix}")
    ended = FileJob(source=source, output=folder / f"ended.{suffix}", chunk_rows=chunk_rows)
    run(whole)
    for end in ends:
        told: list[FileProgress] = []

        def stop(progress: FileProgress, told: list = told, end: int = end) -> None:
            told.append(progress)
            if len(told) > end:
                raise Ended

        try:
            run(ended, tell=stop)
        except Ended:
            with ended.output.open("ab") as file:
                file.write(b"a line that was cut sho")
        else:
            ended.output.unlink()
    done = run(ended)

    assert ended.output.read_bytes() == whole.output.read_bytes()
    assert done.rows == len(texts)
    assert done.bad_rows == sum(text in ("", "7") for text in texts)
    assert not list(folder.glob("*.progress"))


def test_every_row_has_a_line_with_its_number_or_the_reason(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["one", "", "7", "Größe 🎉"])
    job = FileJob(source=source, output=tmp_path / "out.jsonl")
    done = run(job)

    assert [json.loads(line) for line in job.output.read_text(encoding="utf-8").splitlines()] == [
        {"line": 1, "text": "ONE"},
        {"line": 2, "error": "an empty text"},
        {"line": 3, "error": "a text without letters"},
        {"line": 4, "text": "GRÖSSE 🎉"},
    ]
    assert done.first_errors == ("line 2: an empty text", "line 3: a text without letters")


def test_a_strict_run_stops_at_the_first_bad_row_and_goes_on_once_it_is_mended(
    tmp_path: Path,
) -> None:
    source = source_of(tmp_path, ["one", "two", "7", "four"])
    job = FileJob(source=source, output=tmp_path / "out.jsonl", is_strict=True, chunk_rows=1)
    with pytest.raises(WorkloadError, match=r"texts.txt, line 3: a text without letters; mend it"):
        run(job)
    source_of(tmp_path, ["one", "two", "three", "four"])
    done = run(job)

    assert (done.rows, done.resumed_rows, done.bad_rows) == (4, 2, 0)
    lines = job.output.read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["ONE", "TWO", "THREE", "FOUR"]


def begun(tmp_path: Path) -> FileJob:
    """Return a job that was ended after its first row."""
    source = source_of(tmp_path, ["one", "two", "three"])
    job = FileJob(source=source, output=tmp_path / "out.jsonl", chunk_rows=1)

    def stop(progress: FileProgress) -> None:
        if progress.rows:
            raise Ended

    with pytest.raises(Ended):
        run(job, tell=stop)
    return job


def test_a_run_does_not_go_on_with_another_file(tmp_path: Path) -> None:
    job = begun(tmp_path)
    source_of(tmp_path, ["eins", "two", "three"])

    with pytest.raises(UsageError, match=r"is not the file that .*out.jsonl was begun with"):
        run(job)


def test_a_run_does_not_go_on_behind_a_changed_output(tmp_path: Path) -> None:
    job = begun(tmp_path)
    job.output.write_text(job.output.read_text().replace("ONE", "EINS"))
    with pytest.raises(UsageError, match=r"out.jsonl was changed since it was begun"):
        run(job)

    job.output.write_text("")
    with pytest.raises(UsageError, match=r"out.jsonl was changed since it was begun"):
        run(job)


def test_a_run_does_not_go_on_without_its_output(tmp_path: Path) -> None:
    job = begun(tmp_path)
    job.output.unlink()
    with pytest.raises(UsageError, match=r"out.jsonl was begun and is gone; restore it, or add"):
        run(job)
    assert not job.output.exists()
    assert run(replace(job, overwrite=True)).rows == 3


def test_a_run_does_not_go_on_in_another_way(tmp_path: Path) -> None:
    job = begun(tmp_path)
    standing = json.loads((tmp_path / "out.jsonl.progress").read_text())
    standing["job"]["plan"] = "another"
    (tmp_path / "out.jsonl.progress").write_text(json.dumps(standing))
    with pytest.raises(UsageError, match="was begun with plan='another', not"):
        run(job)

    (tmp_path / "out.jsonl.progress").write_text("{")
    with pytest.raises(UsageError, match=r"progress is damaged .*; add --overwrite to start anew"):
        run(job)


def test_a_finished_output_is_replaced_only_on_request(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["one"])
    job = FileJob(source=source, output=tmp_path / "out.csv")
    run(job)
    with pytest.raises(UsageError, match="exists, and no run that goes on; name another file"):
        run(job)
    source_of(tmp_path, ["two"])
    run(FileJob(source=source, output=job.output, overwrite=True))

    assert job.output.read_text() == "line,text,error\n1,TWO,\n"


def test_an_output_of_another_kind_is_refused(tmp_path: Path) -> None:
    job = FileJob(source=source_of(tmp_path, ["one"]), output=tmp_path / "out.parquet")
    with pytest.raises(UsageError, match=r"expected a name that ends in .jsonl or .csv"):
        run(job)


def test_the_file_is_read_no_further_than_the_chunk_at_hand(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["a" * 50] * 1000)
    job = FileJob(source=source, output=tmp_path / "out.jsonl", chunk_rows=10)
    seen: list[int] = []

    def predict(texts: Sequence[str]) -> list[Prediction]:
        seen.append(len(texts))
        return echo(texts)

    told: list[FileProgress] = []
    run(job, predict, told.append)

    assert seen == [10] * 100
    assert [progress.rows for progress in told] == list(range(0, 1001, 10))
    assert told[1].read_bytes == 510
    assert told[-1].read_bytes == told[-1].size_bytes == source.stat().st_size


def test_answers_of_each_kind_have_their_columns() -> None:
    from ivme.tune.rows import Row

    row = Row(line=3, text="x")
    classified = Prediction(label="b", probabilities=np.array([0.25, 0.75], dtype=np.float32))
    vector = Prediction(vector=np.array([1 / 3, 2.0], dtype=np.float32))

    assert json.loads(AnswerLines("jsonl", "classifier", ["a", "b"]).line(row, classified)) == {
        "line": 3,
        "label": "b",
        "probability": 0.75,
        "probabilities": {"a": 0.25, "b": 0.75},
    }
    table = AnswerLines("csv", "classifier", ["a", "b"])
    assert table.header() + table.line(row, classified) == (
        "line,label,probability,error\n3,b,0.75,\n"
    )
    assert AnswerLines("csv", "embedding", []).line(row, vector) == '3,"[0.3333333, 2.0]",\n'
    assert AnswerLines("csv", "embedding", []).line(row, "why") == "3,,why\n"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_file_prediction as tests

def die_in_the_middle(texts):
    answers = tests.echo(texts)
    if "text 25" in texts:
        os.kill(os.getpid(), signal.SIGKILL)
    return answers

folder = Path(sys.argv[2])
job = tests.FileJob(source=folder / "texts.txt", output=folder / "out.jsonl", chunk_rows=4)
tests.run(job, die_in_the_middle)
"""


def test_a_killed_process_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    source = source_of(tmp_path, [f"text {number}" for number in range(40)])
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    killed = subprocess.run(command, env=dict(os.environ), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    job = FileJob(source=source, output=tmp_path / "out.jsonl", chunk_rows=4)
    done = run(job)

    assert done.resumed_rows == 24
    lines = [json.loads(line) for line in job.output.read_text().splitlines()]
    assert lines == [{"line": at + 1, "text": f"TEXT {at}"} for at in range(40)]


@pytest.mark.parametrize("name", ["texts.jsonl", "link.jsonl"])
def test_the_input_is_never_overwritten_with_its_own_answers(tmp_path: Path, name: str) -> None:
    source = tmp_path / "texts.jsonl"
    source.write_text('{"text": "a"}\n')
    (tmp_path / "link.jsonl").symlink_to(source)

    with pytest.raises(UsageError, match="is the file that is read, which writing would destroy"):
        run(FileJob(source=source, output=tmp_path / name, overwrite=True))
    assert source.read_text() == '{"text": "a"}\n'


def test_half_a_surrogate_pair_in_a_row_is_replaced(tmp_path: Path) -> None:
    source = tmp_path / "texts.jsonl"
    source.write_text('{"text": "half \\ud83d a pair"}\n{"text": "\\ud83c\\udf89"}\n')
    output = tmp_path / "out.jsonl"

    def encode(texts: Sequence[str]) -> list[Prediction]:
        return [Prediction(text=text.encode().decode()) for text in texts]

    done = run(FileJob(source=source, output=output), encode)
    assert done.bad_rows == 0
    answers = [json.loads(line)["text"] for line in output.read_text().splitlines()]
    assert answers == ["half \ufffd a pair", "\U0001f389"]


def test_a_run_that_is_refused_before_its_first_row_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text("review\ngood\n")
    job = FileJob(source=source, output=tmp_path / "out.jsonl")
    with pytest.raises(WorkloadError, match="no column 'text'"):
        run(job)
    assert list(tmp_path.iterdir()) == [source]
    assert run(replace(job, column="review")).rows == 1


def test_a_disk_that_is_full_from_the_start_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path, ["one"])
    job = FileJob(source=source, output=tmp_path / "out.jsonl")

    def fill_up(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(UsageError, match="No space left on device; make room, and give the same"):
        run(job)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [source]
    assert run(job).rows == 1


def test_a_full_disk_is_told_of_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path, [f"text {number}" for number in range(9)])
    job = FileJob(source=source, output=tmp_path / "out.jsonl", chunk_rows=4)
    synced: list[int] = []

    def fill_up(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 4:  # of the second chunk; the first has its standing too
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(UsageError, match="No space left on device; make room, and give the same"):
        run(job)
    monkeypatch.undo()
    done = run(job)
    assert (done.resumed_rows, done.rows) == (4, 9)
    assert [json.loads(line)["line"] for line in job.output.read_text().splitlines()] == [
        *range(1, 10)
    ]
