import csv
import json
from pathlib import Path

import pytest

from ivme.engines.batching import Batching
from ivme.engines.protocol import EngineOptions
from ivme.models.loading import load_model
from ivme.tune.file_prediction import CHUNK_ROWS
from ivme.tune.plan import write_plan
from ivme.tune.predictor import Predictor
from ivme.tune.variants import Variant


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "plan"
    variant = Variant(
        engine="onnxruntime", precision="float32", threads=1, batching=Batching(batch_size=8)
    )
    write_plan(
        folder,
        model=load_model("preset:bert-tiny"),
        variant=variant,
        options=EngineOptions(max_length=64),
        evidence={},
    )
    return folder


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_lines_go_to_the_terminal_unless_a_file_is_named(ivme, plan, tmp_path) -> None:
    source = written(tmp_path, "texts.txt", "İstanbul güzel 🎉\n\nthird\n")
    outcome = ivme("predict", "--plan", plan, source)

    first, second, third = map(json.loads, outcome.stdout.splitlines())
    assert outcome.status == 0
    assert set(first) == {"line", "label", "probability", "probabilities"}
    assert second == {"line": 2, "error": "an empty text"}
    assert third["line"] == 3
    assert "texts.txt, line 2: an empty text" in outcome.stderr
    assert "1 of 3 rows have no answer; their lines say why" in outcome.stderr


def test_a_table_is_answered_row_by_row(ivme, plan, tmp_path) -> None:
    source = written(tmp_path, "in.csv", 'id,body\n1,"two\nlines, one row"\n2,çay\n')
    outcome = ivme("predict", "--plan", plan, source, "--column", "body", "-o", tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert outcome.status == 0
    assert "o.csv: 2 rows" in outcome.stdout
    assert [row["line"] for row in rows] == ["2", "4"]
    assert all(row["label"].startswith("LABEL_") and not row["error"] for row in rows)


def test_batches_of_any_size_give_the_same_labels(ivme, plan, tmp_path) -> None:
    texts = "".join(f"{'word ' * (at * 7 % 40)}text {at}\n" for at in range(30))
    source = written(tmp_path, "texts.txt", texts)
    outputs = [
        ivme("predict", "--plan", plan, source, *options).stdout.splitlines()
        for options in ((), ("--batch-size", 16), ("--batch-size", 16, "--max-batch-tokens", 40))
    ]
    labels = [[json.loads(line)["label"] for line in lines] for lines in outputs]

    assert len(labels[0]) == 30
    assert labels[1] == labels[0] == labels[2]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    ivme, plan, tmp_path, monkeypatch
) -> None:
    texts = "".join(f"text {at}\n" for at in range(CHUNK_ROWS + 3))
    source, output = written(tmp_path, "texts.txt", texts), tmp_path / "out.jsonl"
    command = ("predict", "--plan", plan, source, "-o", output)
    predict = Predictor.predict

    def interrupted(self, texts, batching=None):
        if len(texts) < CHUNK_ROWS:
            raise KeyboardInterrupt
        return predict(self, texts, batching)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", interrupted)
        outcome = ivme(*command)
    assert outcome.status == 1
    assert "holds what is done: give the same command again" in " ".join(outcome.stderr.split())
    assert len(output.read_text().splitlines()) == CHUNK_ROWS

    outcome = ivme(*command)
    assert outcome.status == 0
    assert f"{CHUNK_ROWS + 3} rows, {CHUNK_ROWS} of them by earlier runs" in outcome.stdout
    lines = [json.loads(line)["line"] for line in output.read_text().splitlines()]
    assert lines == list(range(1, CHUNK_ROWS + 4))


WRONG = {
    "no plan": (("--plan", "{folder}", "{source}"), 2, "is no plan: it has no plan.json"),
    "no file": (("--plan", "{plan}", "none.txt"), 2, "none.txt: no such file"),
    "another kind": (("--plan", "{plan}", "{source}", "-o", "o.xml"), 2, "ends in .jsonl or .csv"),
    "workers": (
        ("--plan", "{plan}", "{source}", "--workers", "2"),
        2,
        "--workers belongs to --ray",
    ),
    "strict": (("--plan", "{plan}", "{source}", "--strict"), 2, "line 2: an empty text; mend it"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_answered_in_one_line(ivme, plan, tmp_path, name) -> None:
    arguments, status, message = WRONG[name]
    source = written(tmp_path, "texts.txt", "a\n\nb\n")
    places = {"folder": tmp_path, "plan": plan, "source": source}
    outcome = ivme("predict", *(argument.format(**places) for argument in arguments))

    assert outcome.status == status
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
