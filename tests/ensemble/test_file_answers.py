import csv
import json

import pytest

from ivme.ensemble.file_answers import CHUNK_ROWS, EnsembleLines, answer_file
from ivme.ensemble.predictor import Predictor
from ivme.errors import UsageError
from ivme.tune.file_prediction import FileJob
from ivme.tune.rows import Row


@pytest.fixture(scope="module")
def predictor(small_ensemble):
    with Predictor.load(small_ensemble, threads=1) as predictor:
        yield predictor


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "texts.csv"
    rows = [["text"], *([f"moreover the crucial landscape {number}"] for number in range(9))]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:5], [""], *rows[5:]])
    return path


def test_every_row_has_a_line_in_order(predictor, source, tmp_path):
    job = FileJob(source=source, output=tmp_path / "answers.jsonl", chunk_rows=4)
    done = answer_file(job, predictor, has_details=False)
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (done.rows, done.bad_rows) == (10, 1)
    assert [line["line"] for line in lines] == list(range(2, 12))
    assert lines[4] == {"line": 6, "error": "an empty text"}
    expected = predictor.predict_all("moreover the crucial landscape 0")
    assert {**expected, "line": 2} == lines[0]


def test_a_table_has_a_column_for_each_member(predictor, source, tmp_path):
    job = FileJob(source=source, output=tmp_path / "answers.csv", chunk_rows=CHUNK_ROWS)
    answer_file(job, predictor, has_details=True)
    with (tmp_path / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["label"] in ("Human", "machine")
    assert rows[0]["too_short"] == "false"
    assert {f"confidence {name}" for name in predictor.member_names} <= set(rows[0])
    shares = [float(rows[0][f"probability {label}"]) for label in predictor.labels]
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert rows[4]["error"] == "an empty text"
    assert {None, "error"} & set(rows[4]) == {"error"}  # as many cells as columns


def test_a_run_that_was_stopped_goes_on_where_it_was(predictor, source, tmp_path):
    job = FileJob(source=source, output=tmp_path / "answers.jsonl", chunk_rows=3)

    def stop(done):
        if done.rows >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_file(job, predictor, has_details=False, tell=stop)
    with pytest.raises(UsageError, match="was begun with details=False, not True"):
        answer_file(job, predictor, has_details=True)
    done = answer_file(job, predictor, has_details=False)
    assert (done.rows, done.resumed_rows) == (10, 3)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == list(range(2, 12))


def test_a_member_that_is_down_leaves_its_cells_empty():
    lines = EnsembleLines("csv", ("BERT", "GLM"), ("0", "1"), has_details=False)
    answer = {
        "individual_results": {"GLM": {"prediction": 0, "label": "AI", "confidence": 0.9}},
        "ensemble": {
            "prediction": 0, "label": "AI", "confidence": 1.0, "vote_count": 1, "total_models": 1
        },
        "details": {"too_short": True, "probability": {"0": 0.9, "1": 0.1}},
    }  # fmt: skip
    assert lines.line(Row(line=7, text="x"), answer) == "7,0,AI,1.0,1,1,true,,AI,\n"
    assert lines.header().count(",") == 9
