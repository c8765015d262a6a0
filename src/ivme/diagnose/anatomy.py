"""The anatomy of a step, taken inside the child: phases, operators, source lines.

Phases are timed without a profiler. Operators and lines are taken in steps of their own, in which
every operator is watched; what that costs is part of the answer.
"""

import statistics
import time
from typing import Any

import torch

from ivme.diagnose.lines import BackwardLines, Line, shown
from ivme.diagnose.operators import OperatorWatch, Work
from ivme.diagnose.phases import PhaseWatch
from ivme.diagnose.training_step import TrainingStep

MOST_LINES = 25
ITEM_CALLS = 20  # of the tokenizer, where it is timed apart


def measure_phases(step: TrainingStep, steps: int, *, has_warm_up: bool = True) -> dict[str, Any]:
    """Return the seconds of each phase in each step, and those of whole steps not watched.

    Watched and plain steps take turns, so that the cost of watching is of the same moments.
    has_warm_up: watch a step before, for the hooks' own first call.
    """
    plain_s: list[float] = []
    if has_warm_up:
        with PhaseWatch(step.model) as watch:
            watch.time_step(step.run)
    watch = PhaseWatch(step.model)
    for _ in range(steps):
        with watch:
            watch.time_step(step.run)
        plain_s.append(_time_step(step))
    return {
        "seconds": watch.seconds,
        "step_s": watch.step_s,
        "plain_step_s": plain_s,
        "tokenize_item_s": _tokenizer_seconds(step),
    }


def measure_operators(
    step: TrainingStep, steps: int, *, has_warm_up: bool = True
) -> dict[str, Any]:
    """Return the work of each operator and line, a step, and what watching cost.

    has_warm_up: watch a step before, which does not count.
    """
    plain_s: list[float] = []
    backward = BackwardLines()
    watched_s: list[float] = []
    inside_s: list[float] = []  # of operators, in each watched step
    with PhaseWatch(step.model) as phases:
        operators = OperatorWatch(phases)
        phases.on_backward = backward.watch
        for index in range(-1 if has_warm_up else 0, steps):
            plain_s.append(_time_step(step))
            before_s = _operator_seconds(operators)
            with torch.autograd.set_detect_anomaly(True, check_nan=False), operators:
                phases.time_step(step.run)
            watched_s.append(phases.step_s[-1])
            inside_s.append(_operator_seconds(operators) - before_s)
            backward.release()
            if index < 0:
                for taken in (plain_s, watched_s, inside_s):
                    taken.clear()
                for found in (operators.operators, operators.lines, backward.seconds):
                    found.clear()
    return {
        "steps": steps,
        "plain_step_s": plain_s,
        "watched_step_s": watched_s,
        "operator_step_s": inside_s,
        "watching_cost": statistics.median(watched_s) / statistics.median(plain_s),
        "operators": [
            _row(phase, name, work, steps) for (phase, name), work in operators.operators.items()
        ],
        "lines": _line_rows(operators.lines, backward.seconds, steps),
    }


def _operator_seconds(watch: OperatorWatch) -> float:
    return sum(work.seconds for work in watch.operators.values())


def _time_step(step: TrainingStep) -> float:
    start_s = time.perf_counter()
    step.run()
    return time.perf_counter() - start_s


def _tokenizer_seconds(step: TrainingStep) -> list[float]:
    """Return the seconds of tokenizing one item, where that is not part of the step."""
    if step.tokenize_item is None:
        return []
    seconds = []
    for _ in range(ITEM_CALLS):
        start_s = time.perf_counter()
        step.tokenize_item()
        seconds.append(time.perf_counter() - start_s)
    return seconds


def _row(phase: str, name: str, work: Work, steps: int) -> dict[str, Any]:
    """Return an operator's figures a step; JSON's keys are texts."""
    return {
        "phase": phase,
        "operator": name,
        "calls": work.calls / steps,
        "seconds": work.seconds / steps,
        "flops": work.flops / steps,
        "moved_bytes": work.moved_bytes / steps,
        "sizes": {str(size): calls / steps for size, calls in work.sizes.items()},
    }


def _line_rows(
    forward: dict[Line, float], backward: dict[Line, float], steps: int
) -> list[dict[str, Any]]:
    rows = [
        {
            "line": shown(line),
            "forward_s": forward.get(line, 0.0) / steps,
            "backward_s": backward.get(line, 0.0) / steps,
        }
        for line in {**forward, **backward}
    ]
    rows.sort(key=lambda row: -(row["forward_s"] + row["backward_s"]))  # type: ignore[operator]
    return rows[:MOST_LINES]
