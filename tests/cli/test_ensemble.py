import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from ivme.ensemble import demo_texts
from ivme.measure.records import load_record

sys.path.insert(0, str(Path(__file__).parents[1] / "ensemble"))  # its made-up styles

TABULAR = ("--members", "DRF,GLM")


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A file of labeled texts of two kinds."""
    from styles import styled_texts

    path = tmp_path_factory.mktemp("data") / "texts.csv"
    rows = zip(*styled_texts(120, ("0", "1"), seed=2), strict=True)
    kinds = ("letter", "report")
    lines = [f"{text * 2},{label},{kinds[at % 2]}" for at, (text, label) in enumerate(rows)]
    path.write_text("\n".join(["text,label,kind", *lines]) + "\n")
    return path


@pytest.fixture(autouse=True, scope="module")
def known_styles():
    """Texts of styles 0 and 1, as the labels of people's files often are."""
    import styles

    styles.WORDS.update({"0": styles.WORDS["machine"], "1": styles.WORDS["human"]})
    yield
    del styles.WORDS["0"], styles.WORDS["1"]


@pytest.fixture(scope="module")
def model(texts, tmp_path_factory) -> Path:
    """An ensemble trained through the command, with two members."""
    from ivme.cli.main import app

    folder = tmp_path_factory.mktemp("trained") / "model"
    arguments = ["ensemble", "train", "--data", texts, *TABULAR, "-o", folder]
    arguments += ["--label-names", "0=AI,1=Human", "--least-words", 8, "--threads", 1]
    app([str(one) for one in arguments], standalone_mode=False)
    return folder


@pytest.fixture
def pipe(monkeypatch):
    """Return a function that puts bytes on standard input."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def test_training_ends_with_figures_a_card_and_what_to_do_next(ivme, texts, tmp_path):
    folder = tmp_path / "model"
    outcome = ivme("ensemble", "train", "--data", texts, "--valid", texts, *TABULAR, "-o", folder)
    assert outcome.status == 2
    assert "every text of" in outcome.stderr
    outcome = ivme("ensemble", "train", "--data", texts, *TABULAR, "-o", folder, "--threads", 1)
    assert outcome.status == 0
    assert "s  Held out 18 of 120 texts to validate on" in outcome.stderr
    assert "s  Training DRF..." in outcome.stderr
    assert "All 18 texts" in outcome.stdout
    assert outcome.stdout.endswith(
        f"ensemble: {folder}\ncard:     {folder}/MODEL_CARD.md\n"
        f'next:     ivme ensemble predict {folder} "TEXT"\n'
    )
    assert load_record(folder / "evaluation.json").kind == "evaluate"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--members DRF,XGB", "members=DRF, XGB; expected some of BERT, RoBERTa, DRF, GBM, GLM"),
        ("--label-names AI", "--label-names AI: expected LABEL=NAME"),
        ("--roberta ./nothing-here", "'./nothing-here'"),
    ],
)
def test_wrong_options_of_training_are_refused_before_a_demo_is_written(
    ivme, tmp_path, monkeypatch, words, message
):
    monkeypatch.setattr(demo_texts, "demo_texts", lambda *_, **__: pytest.fail("it was written"))
    outcome = ivme("ensemble", "train", "-o", tmp_path / "model", *words.split())
    assert outcome.status == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_evaluation_prints_every_judge_and_keeps_record_and_card(ivme, model, texts, tmp_path):
    folder, record = tmp_path / "model", tmp_path / "evaluation.json"
    shutil.copytree(model, folder)
    outcome = ivme(
        *("ensemble", "evaluate", folder, "--data", texts, "--domain-column", "kind"),
        *("-o", record, "--card", "--threads", 1),
    )
    assert outcome.status == 0
    for part in ("All 120 texts", "Stacking, by domain", "majority vote", "letter"):
        assert part in outcome.stdout
    assert max(map(len, outcome.stdout.split("\nrecord: ")[0].splitlines())) <= 80
    assert load_record(record).settings["label_names"] == {"0": "AI", "1": "Human"}
    assert "texts.csv" in (folder / "MODEL_CARD.md").read_text()
    page = tmp_path / "page.html"
    assert ivme("report", record, "-o", page).status == 0
    assert "How well the ensemble tells AI from Human" in page.read_text()


def test_a_record_in_the_place_of_a_file_of_the_ensemble_is_refused(ivme, model, texts, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for name in ("evaluation.json", "manifest.json", "tabular/manifest.json"):
        kept = (folder / name).read_bytes()
        outcome = ivme("ensemble", "evaluate", folder, "--data", texts, "-o", folder / name)
        assert outcome.status == 2
        assert "it is part of the ensemble; name another file, or give --card" in outcome.stderr
        assert (folder / name).read_bytes() == kept
    outcome = ivme("ensemble", "evaluate", folder, "--data", texts, "-o", folder / "own.json")
    assert outcome.status == 0
    outcome = ivme("ensemble", "compile", folder, "--data", texts)
    assert outcome.status == 0
    (folder / "own.json").write_text("{}")
    assert ivme("ensemble", "predict", folder, "hm", "--threads", 1).status == 0


def test_a_text_gets_an_answer_for_people_or_as_json(ivme, model, pipe):
    text = "moreover the crucial landscape of delve and robust tapestry ensure"
    outcome = ivme("ensemble", "predict", model, text, "--details", "--threads", 1)
    assert outcome.status == 0
    assert outcome.stdout.startswith("AI  2 of 2 members, confidence 100%\n")
    assert "probability: AI " in outcome.stdout
    assert "time: " in outcome.stdout
    pipe(text.encode())
    outcome = ivme("ensemble", "predict", model, "-", "--json", "--threads", 1)
    answer = json.loads(outcome.stdout)
    assert list(answer) == ["individual_results", "ensemble"]
    assert answer["ensemble"]["prediction"] == 0
    assert answer["ensemble"]["label"] == "AI"


def test_short_and_strange_texts_get_an_answer_that_says_so(ivme, model):
    for text in ("hm", "中文 🙂", "\ud800"):
        outcome = ivme("ensemble", "predict", model, text, "--threads", 1)
        assert outcome.status == 0
        assert "Too short to judge: it has fewer than 8 words." in outcome.stdout


def test_a_file_is_answered_row_by_row(ivme, model, texts, tmp_path):
    output = tmp_path / "answers.jsonl"
    outcome = ivme("ensemble", "predict", model, "--file", texts, "-o", output, "--threads", 1)
    assert outcome.status == 0
    assert outcome.stdout == f"wrote {output}: 120 rows\n"
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(2, 122))


def test_a_mojo_is_refused_by_name_where_its_columns_are_others(ivme, model, tmp_path):
    mojo = Path(__file__).parents[1] / "ensemble" / "fixtures" / "mojo" / "drf_2.zip"
    outcome = ivme("ensemble", "compile", model, "--mojo", f"DRF={mojo}", "-o", tmp_path / "new")
    assert outcome.status == 2
    assert "drf_2.zip has the labels" in outcome.stderr
    assert not (tmp_path / "new").exists()


def test_compiling_on_texts_settles_thresholds_anew(ivme, model, texts, tmp_path):
    target = tmp_path / "new"
    outcome = ivme("ensemble", "compile", model, "--data", texts, "-o", target, "--threads", 1)
    assert outcome.status == 0
    assert outcome.stdout.startswith(f"wrote {target}: DRF, GLM\n")
    assert not (target / "MODEL_CARD.md").exists()  # its figures were of other thresholds


def test_the_demo_says_that_it_is_one(ivme, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_texts, "GENERATORS", ("word-pairs",))
    folder = tmp_path / "model"
    outcome = ivme("ensemble", "train", "--members", "GLM", "-o", folder, "--threads", 1)
    assert outcome.status == 0
    assert "No --data: a demo, on texts made here" in outcome.stderr
    assert "note: A demo: the texts are Python's documentation" in outcome.stdout
    assert "A demo" in (folder / "MODEL_CARD.md").read_text()


def test_a_demo_is_judged_on_the_texts_that_it_was_not_trained_on(ivme, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_texts, "GENERATORS", ("word-pairs",))
    folder, record = tmp_path / "model", tmp_path / "record.json"
    arguments = ("--members", "GLM", "--threads", 1, "--seed", 3)
    assert ivme("ensemble", "train", *arguments, "-o", folder).status == 0
    outcome = ivme("ensemble", "evaluate", folder, "-o", record, "--threads", 1)
    assert outcome.status == 0
    assert "was not trained on the texts of this demo" not in outcome.stdout
    in_training, again = load_record(folder / "evaluation.json"), load_record(record)
    for one, other in zip(in_training.measurements, again.measurements, strict=True):
        scores = [each.facts["classification"]["scores"] for each in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_an_ensemble_of_other_texts_is_judged_on_the_demo_with_a_note(ivme, model, monkeypatch):
    monkeypatch.setattr(demo_texts, "GENERATORS", ("word-pairs",))
    outcome = ivme("ensemble", "evaluate", model, "--threads", 1)
    assert outcome.status == 0
    said = " ".join(outcome.stdout.split())
    assert "was not trained on the texts of this demo, but on texts.csv. Give texts" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "{texts}", "--members", "XGB"), "members=XGB; expected some of BERT,"),
        (("train", "--data", "{texts}", "--text-column", "body"), "has no column 'body'"),
        (("train", "--data", "{one}"), "every text has the label '1'; expected two labels"),
        (("train", "--data", "{latin}"), "latin.csv is not UTF-8"),
        (("train", "--valid", "{texts}"), "without --data; give the texts to train on too"),
        (("train", "--data", "{texts}", "--trainer", "x"), "expected one of sklearn, h2o"),
        (("train", "--data", "{texts}", "--h2o-url", "http://x"), "belongs to --trainer h2o"),
        (("train", "--data", "{texts}", "--bert", "b", "--members", "GLM"), "leaves BERT out"),
        (("train", "--data", "{texts}", "--label-names", "7=AI"), "--label-names names '7'"),
        (("evaluate", "{nowhere}", "--data", "{texts}"), "nowhere is no folder"),
        (("evaluate", "{model}", "--data", "{nowhere}.csv"), "no such file"),
        (("evaluate", "{model}", "--data", "{texts}", "--positive", "x"), "expected one of 0, 1"),
        (("predict", "{nowhere}", "text"), "nowhere is no folder"),
        (("predict", "{model}", "text", "--file", "{texts}"), "a text and --file"),
        (("predict", "{model}", "text", "--strict"), "--strict belongs to --file"),
        (("predict", "{model}", "text", "--voting", "x"), "expected one of majority, stacking"),
        (("train", "--text-column", "text"), "--text-column belongs to --data; give both"),
        (("train", "--label-column", "kind"), "--label-column belongs to --data"),
        (("train", "--group-column", "kind"), "--group-column belongs to --data"),
        (
            ("train", "--data", "{texts}", "--members", "DRF,GLM", "--budget", "9"),
            "--budget belongs to the members BERT and RoBERTa",
        ),
        (
            ("train", "--data", "{texts}", "--members", "DRF,GLM", "--search", "9"),
            "--search belongs to transformers",
        ),
        (("evaluate", "{model}", "--text-column", "text"), "--text-column belongs to --data"),
        (("evaluate", "{model}", "--label-column", "kind"), "--label-column belongs to --data"),
        (("evaluate", "{model}", "--domain-column", "kind"), "--domain-column belongs to --data"),
        (
            ("predict", "{model}", "--file", "{texts}", "-o", "{nowhere}.csv", "--json"),
            "--json belongs to a text; --file writes what",
        ),
        (("compile", "{model}", "--mojo", "DRF=x", "--text-column", "a"), "-column belongs to --d"),
        (("compile", "{model}", "--mojo", "DRF=x", "--label-column", "a"), "-column belongs to -"),
        (("compile", "{model}", "--mojo", "DRF=x", "--threads", "1"), "--threads belongs to --da"),
        (("compile", "{model}", "--mojo", "DRF=x", "--h2o-url", "http://x"), "belongs to --h2o-m"),
        (("compile", "{model}"), "nothing to compile; give labeled texts"),
        (("compile", "{model}", "--mojo", "DRF"), "--mojo DRF: expected NAME=..."),
        (("compile", "{model}", "--search", "9"), "--search belongs to --data"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(ivme, model, texts, tmp_path, arguments, message):
    (tmp_path / "one.csv").write_text("text,label\nhello,1\nbye,1\n")
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,1\n".encode("latin-1"))
    places = {
        "texts": texts,
        "model": model,
        "one": tmp_path / "one.csv",
        "latin": tmp_path / "latin.csv",
        "nowhere": tmp_path / "nowhere",
    }
    given = [one.format(**places) for one in arguments]
    if given[0] == "train":
        given += ["-o", str(tmp_path / "new")]
    outcome = ivme("ensemble", *given)
    assert outcome.status == 2
    last = outcome.stderr.strip().splitlines()[-1]
    assert last.startswith("ivme: ")
    assert message in last
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_written_over(ivme, texts, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    outcome = ivme("ensemble", "train", "--data", texts, "-o", tmp_path)
    assert outcome.status == 2
    assert "the folder holds something else" in outcome.stderr


def test_standard_input_must_be_utf_8(ivme, model, pipe):
    pipe(b"caf\xe9")
    outcome = ivme("ensemble", "predict", model, "-")
    assert outcome.status == 2
    assert "standard input is not UTF-8 text (byte 3)" in outcome.stderr
