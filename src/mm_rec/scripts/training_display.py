"""What a person sees of a run: a bar on a terminal, plain lines elsewhere; all on stderr."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mm_rec.training.reports import Evaluation, Listener, StepReport, Summary

if TYPE_CHECKING:
    from rich.console import Console

LINE_PERIOD_S = 2.0  # of plain lines, where there is no terminal
SMOOTHING = 0.9  # of the loss that is shown
OPERATIONS_PER_PARAMETER = 6  # of matrix products a token: forward 2, backward 4


class TrainingDisplay(Listener):
    """Shows loss, tokens/s, the part of the machine's matrix-product rate, and the time left.

    parameters: of the model. product_rate: in operations/s; None: not measured on this machine.
    """

    def __init__(
        self, parameters: int, product_rate: float | None, *, console: "Console | None" = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._operations = OPERATIONS_PER_PARAMETER * parameters
        self._product_rate = product_rate
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=1.0, step=0, figures="")
        self._loss: float | None = None
        self._next_line_at = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_bar()

    def started(self, step: int, resumed_from: Path | None) -> None:
        """Say where a resumed run goes on."""
        if resumed_from is not None:
            self._say(f"resumed from {resumed_from}, after step {step}")

    def stepped(self, report: StepReport) -> None:
        """Move the bar, or print a line now and then."""
        if report.skipped_because is None:
            before = report.loss if self._loss is None else self._loss
            self._loss = SMOOTHING * before + (1 - SMOOTHING) * report.loss
        figures = self._figures(report)
        if self.console.is_terminal:
            self._bar.update(
                self._task, completed=report.share_done, step=report.step, figures=figures
            )
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + LINE_PERIOD_S
            self._say(f"step {report.step}  {report.share_done:.0%}  {figures}")

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Print the validation loss."""
        self._say(
            f"step {step}: validation loss {evaluation.loss:.4f}, "
            f"perplexity {evaluation.perplexity:.2f}, "
            f"{evaluation.bits_per_byte:.3f} bits per byte"
        )

    def sampled(self, step: int, text: str) -> None:
        """Print the text."""
        self._say(f"step {step}, sample:", style="cyan")
        self._say("\n".join(f"  {line}" for line in text.splitlines()))

    def saved(self, step: int, folder: Path) -> None:
        """Print where the checkpoint is."""
        self._say(f"step {step}: saved {folder}", style="dim")

    def noted(self, text: str) -> None:
        """Print the remark."""
        self._say(text, style="yellow")

    def ended(self, summary: Summary) -> None:
        """Take the bar away."""
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def _figures(self, report: StepReport) -> str:
        parts = [f"loss {report.loss if self._loss is None else self._loss:.3f}"]
        parts.append(f"{report.tokens_per_s:,.0f} tokens/s")
        if self._product_rate:
            share = report.tokens_per_s * self._operations / self._product_rate
            parts.append(f"{share:.0%} of peak")
        if report.share_done > 0:
            left_s = report.elapsed_s * (1 - report.share_done) / report.share_done
            parts.append(f"{format_duration(left_s)} left")
        return "  ".join(parts)

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False)


def print_summary(summary: Summary, output: Any = None) -> None:
    """Print how a run ended, and what to do next."""
    output = output or sys.stdout
    rows = [
        ("steps", f"{summary.step:,}"),
        ("tokens", f"{summary.tokens_seen:,}"),
        ("time", format_duration(summary.elapsed_s)),
        ("tokens/s", f"{summary.tokens_seen / max(summary.elapsed_s, 1e-9):,.0f}"),
    ]
    if summary.skipped_steps:
        rows.append(("skipped steps", f"{summary.skipped_steps:,}"))
    if summary.evaluation is not None:
        rows += evaluation_rows(summary.evaluation)
    rows.append(("model", str(summary.checkpoint)))
    print_rows(rows, output)
    run_folder = summary.checkpoint.parent
    if summary.is_complete:
        print(f"next: python -m mm_rec.scripts.generate --model {run_folder}", file=output)
    else:
        print(f"stopped; python -m mm_rec.scripts.pretrain --resume_from {run_folder}", file=output)


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the figures of an evaluation, with their names."""
    return [
        ("validation loss", f"{evaluation.loss:.4f}"),
        ("perplexity", f"{evaluation.perplexity:.3f}"),
        ("bits per byte", f"{evaluation.bits_per_byte:.4f}"),
    ]


def print_rows(rows: list[tuple[str, str]], output: Any = None) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}", file=output or sys.stdout)


def format_duration(seconds: float) -> str:
    """Return seconds as "42 s", "3 min 20 s" or "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
