import json
import sys

import pytest

from ivme.cli.demo import activation_command
from ivme.measure.records import load_record
from ivme.tour import engines, settings, writing

SHORT = settings.TourSettings(
    engines_s=1e-3,
    writer_s=0.5,
    train_texts=60,
    valid_texts=40,
    training_s=0.5,
    search_s=None,
    plan_engines=("transformers:float32",),
    forest_trees=5,
)


@pytest.fixture
def short_tour(monkeypatch):
    monkeypatch.setattr(settings, "FULL", SHORT)
    monkeypatch.setattr(engines, "TEXTS", 8)
    monkeypatch.setattr(writing, "MOST_LETTERS", 200)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Return the folder of programs of an environment that this Python seems to be of."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "ivme"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    return programs


def test_where_the_shell_does_not_find_ivme_it_is_told_how(environment, monkeypatch):
    assert activation_command() == f'export PATH={environment}:"$PATH"'
    (environment / "activate").touch()
    assert activation_command() == "source .venv/bin/activate"
    monkeypatch.chdir(environment)
    assert activation_command() == "source activate"
    monkeypatch.setenv("PATH", str(environment))
    assert activation_command() is None


@pytest.mark.slow
def test_the_tour_leaves_models_records_and_one_report(ivme, short_tour, tmp_path):
    folder = tmp_path / "tour"
    outcome = ivme("demo", "-o", folder)
    assert outcome.status == 0, outcome.stderr
    kinds = {path.stem: load_record(path).kind for path in folder.glob("*.json")}
    assert kinds == {
        "doctor": "doctor",
        "bench": "bench",
        "compare": "compare",
        "pretrain": "pretrain",
        "evaluation": "evaluate",
    }
    assert json.loads((folder / "mm-rec" / "config.json").read_text())["model_type"] == "mm_rec"
    page = (folder / "report.html").read_text()
    for part in ("What this machine can do", "preset:t5-tiny", "Learning to write", "AI (demo)"):
        assert part in page
    for chapter in ("1 of 6  This machine", "4 of 6  A model learns to write", "Says"):
        assert chapter in outcome.stdout
    assert f"ivme serve {folder / 'model'}" in outcome.stdout
    assert "no detector for any other text" in " ".join(outcome.stdout.split())
    tour = outcome.stdout.partition("All of it on one page")[0]
    assert max(map(len, tour.splitlines())) <= 80
    assert not [one.name for one in folder.iterdir() if one.name.startswith(".")]


def test_an_interrupt_ends_the_tour_with_a_report_of_what_was_found(
    ivme, short_tour, tmp_path, monkeypatch
):
    from ivme.bench import sweep

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "load_model", interrupt)
    outcome = ivme("demo", "-o", tmp_path / "tour")
    assert outcome.status == 1
    assert "interrupted in chapter 2 of 6; what was found until then: " in outcome.stderr
    names = sorted(path.name for path in (tmp_path / "tour").iterdir())
    assert names == ["bench.json", "doctor.json", "report.html"]


def test_a_folder_that_holds_something_else_is_refused_at_once(ivme, tmp_path):
    (tmp_path / "mm-rec").mkdir()
    outcome = ivme("demo", "-o", tmp_path)
    assert outcome.status == 2
    assert "holds something else; name another --output" in outcome.stderr
    assert outcome.stdout == ""
