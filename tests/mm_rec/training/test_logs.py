import json
from contextlib import closing

import pytest

from mm_rec.training.logs import LOG_FILE, JsonLinesLog, TensorBoardLog, read_log
from mm_rec.training.reports import Evaluation, StepReport


def report(step, loss=1.0, **settings):
    return StepReport(
        step=step,
        loss=loss,
        auxiliary_loss=None,
        learning_rate=1e-3,
        gradient_norm=1.0,
        tokens_seen=step,
        tokens_per_s=1.0,
        elapsed_s=1.0,
        share_done=0.5,
        **settings,
    )


def test_every_so_many_steps_are_logged_and_every_skipped_one(tmp_path):
    with closing(JsonLinesLog(tmp_path, interval=2)) as log:
        for step in (1, 2, 3):
            log.stepped(report(step, skipped_because="why" if step == 3 else None))
    assert [line["step"] for line in read_log(tmp_path, "step")] == [2, 3]


def test_a_half_written_line_of_a_killed_run_is_cut_off(tmp_path):
    (tmp_path / LOG_FILE).write_text('{"event": "note", "text": "whole"}\n{"event": "no')
    with closing(JsonLinesLog(tmp_path, interval=1)) as log:
        log.noted("next")
    assert [line["text"] for line in read_log(tmp_path, "note")] == ["whole", "next"]
    assert len((tmp_path / LOG_FILE).read_text().splitlines()) == 2


def test_what_is_no_number_is_null(tmp_path):
    with closing(JsonLinesLog(tmp_path, interval=1)) as log:
        log.stepped(report(1, loss=float("nan")))
    line = (tmp_path / LOG_FILE).read_text()
    assert json.loads(line, parse_constant=pytest.fail)["loss"] is None


def test_tensorboard_reads_the_same_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoardLog(tmp_path, interval=1)
    log.started(0, None)
    log.stepped(report(1, loss=2.5))
    log.evaluated(1, Evaluation(loss=2.0, tokens=1, bytes_per_token=1.0))
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [one.value for one in events.Scalars("loss/training")] == [2.5]
    assert [one.value for one in events.Scalars("loss/validation")] == [2.0]
