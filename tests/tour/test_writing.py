import signal
import subprocess
from dataclasses import replace

import pytest

from ivme.ensemble.demo_texts import AI, HUMAN
from ivme.errors import UsageError
from ivme.measure.records import load_record, save_record
from ivme.models.loading import load_model
from ivme.report.building import build_part
from ivme.tour.settings import QUICK
from ivme.tour.writing import check_writer, learn_to_write

pytestmark = pytest.mark.slow


def test_the_model_is_kept_and_can_be_loaded(taken):
    loaded = load_model(str(taken.folder / "mm-rec"))
    [measurement] = taken.writing.record.measurements
    parameters = sum(one.numel() for one in loaded.model.parameters())
    assert measurement.facts["pretraining"]["parameters"] == parameters


def test_its_texts_stand_beside_as_many_by_people(taken):
    texts = taken.writing.texts
    labels = texts.train.labels + texts.valid.labels
    assert (len(texts.train), len(texts.valid)) == (60, 40)
    assert labels.count(AI) == labels.count(HUMAN) == 50
    assert set(texts.valid_domains) == {"mm-rec", "documentation"}


def test_progress_tells_of_the_steps(taken):
    assert any(line.startswith("MM-Rec, step ") for line in taken.told)
    assert "Writing... 50 of 50" in taken.told


def test_the_report_has_its_curve_and_what_it_wrote(taken, tmp_path):
    save_record(taken.writing.record, tmp_path / "pretrain.json")
    part = build_part(load_record(tmp_path / "pretrain.json"))
    assert part.title == "How MM-Rec learned to write"
    assert "parameters, trained" in part.blocks[0].text
    assert any("A demo" in getattr(block, "text", "") for block in part.blocks)
    section = next(one for one in part.sections if one.title == "Learning to write")
    samples = [block.text for block in section.blocks if getattr(block, "word", "")]
    assert samples == taken.writing.record.measurements[0].facts["pretraining"]["samples"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "mm-rec").mkdir()
    (tmp_path / "mm-rec" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds something else; name another --output"):
        check_writer(tmp_path)


def test_an_interrupt_ends_the_pretraining_and_leaves_nothing(tmp_path, monkeypatch):
    started: list[subprocess.Popen[str]] = []

    class Remembered(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    def interrupt(line: str) -> None:
        if line.startswith("MM-Rec, "):
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    with pytest.raises(KeyboardInterrupt):
        learn_to_write(replace(QUICK, writer_s=600.0), tmp_path, interrupt)
    assert [one.returncode for one in started if "mm_rec.scripts.pretrain" in one.args] == [
        -signal.SIGKILL
    ]
    assert list(tmp_path.iterdir()) == []
