"""Logs of a run: JSON lines, and TensorBoard. Both are appended to by a resumed run."""

import contextlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mm_rec.training.reports import Evaluation, Listener, StepReport, Summary

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class JsonLinesLog(Listener):
    """One JSON object a line: an event, its step, and what belongs to it.

    A resumed run may repeat steps that were logged before it was killed: the last line of a step
    counts. Numbers that are not finite are null.
    """

    def __init__(self, run_folder: Path, interval: int) -> None:
        self._interval = interval
        self._file = (run_folder / LOG_FILE).open("a+b")
        self._drop_half_line()

    def started(self, step: int, resumed_from: Path | None) -> None:
        """Write where the run begins."""
        name = None if resumed_from is None else resumed_from.name
        self._write("started", step=step, resumed_from=name)

    def stepped(self, report: StepReport) -> None:
        """Write every `interval`-th step, and each that was skipped."""
        if report.step % self._interval == 0 or report.skipped_because is not None:
            self._write("step", **asdict(report))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Write the losses."""
        self._write("evaluation", step=step, **_figures(evaluation))

    def sampled(self, step: int, text: str) -> None:
        """Write the text."""
        self._write("sample", step=step, text=text)

    def saved(self, step: int, folder: Path) -> None:
        """Write the name of the checkpoint."""
        self._write("checkpoint", step=step, folder=folder.name)

    def noted(self, text: str) -> None:
        """Write the remark."""
        self._write("note", text=text)

    def ended(self, summary: Summary) -> None:
        """Write the summary."""
        evaluation = None if summary.evaluation is None else _figures(summary.evaluation)
        facts = {**asdict(summary), "checkpoint": summary.checkpoint.name, "evaluation": evaluation}
        self._write("ended", **facts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, **_finite(facts)}, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode("utf-8", errors="replace") + b"\n")
        self._file.flush()

    def _drop_half_line(self) -> None:
        """Cut off what a killed run wrote of its last line."""
        content_end = self._file.seek(0, os.SEEK_END)
        while content_end:
            self._file.seek(content_end - 1)
            if self._file.read(1) == b"\n":
                break
            content_end -= 1
        self._file.truncate(content_end)


class TensorBoardLog(Listener):
    """The same figures for TensorBoard; a resumed run replaces the steps that it repeats."""

    def __init__(self, run_folder: Path, interval: int) -> None:
        self._folder, self._interval = run_folder / TENSORBOARD_FOLDER, interval
        self._writer: Any = None

    def started(self, step: int, resumed_from: Path | None) -> None:
        """Open the log, without the steps after this one."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def stepped(self, report: StepReport) -> None:
        """Draw every `interval`-th step."""
        if report.step % self._interval:
            return
        figures = {
            "loss/training": report.loss,
            "loss/auxiliary": report.auxiliary_loss,
            "optimization/learning rate": report.learning_rate,
            "optimization/gradient norm": report.gradient_norm,
            "speed/tokens per second": report.tokens_per_s,
        }
        for name, value in figures.items():
            if value is not None:
                self._writer.add_scalar(name, value, report.step)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Draw the validation losses."""
        self._writer.add_scalar("loss/validation", evaluation.loss, step)
        self._writer.add_scalar("loss/bits per byte", evaluation.bits_per_byte, step)

    def sampled(self, step: int, text: str) -> None:
        """Keep the text."""
        self._writer.add_text("sample", text, step)

    def close(self) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()


def read_log(run_folder: Path, event: str) -> list[dict[str, Any]]:
    """Return the logged events of one kind, in order; a half-written last line is left out."""
    events = []
    for line in (run_folder / LOG_FILE).read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if found["event"] == event:
                events.append(found)
    return events


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        **asdict(evaluation),
        "perplexity": evaluation.perplexity,
        "bits_per_byte": evaluation.bits_per_byte,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
