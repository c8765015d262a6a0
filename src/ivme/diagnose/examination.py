"""The examination: everything about the step as it is, taken in a process of its own."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from ivme.diagnose.limits import apply_limits
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.trials import Trial
from ivme.errors import IvmeError
from ivme.hardware.ceilings import Ceilings

PHASE_STEPS_S = 4.0  # seconds of steps in which phases are timed
OPERATOR_STEPS_S = 2.0
CORE_WATCH_S = 1.5
LEAK_STEPS = 9
MOST_STEPS, FEWEST_STEPS = 20, 3
SLOWER_WHEN_WATCHED = 20  # times; what the time limits of watched steps allow for


def examine(
    trial: Trial,
    ceilings: Ceilings,
    step_limit_s: float,
    tell: Callable[[str], None],
    keep: dict[str, Any],
) -> None:
    """Take the anatomy of an open trial, part by part, into `keep`.

    A part that cannot be taken leaves its reason in keep["left_out"]; where the step itself
    fails, IvmeError is passed on, and what was taken before is kept.
    """
    process, settings = trial.process, trial.settings
    assert process is not None, "open the trial first"
    step_s = trial.expected_step_s

    def ask(name: str, what: str, calls: int, **arguments: Any) -> Any:
        tell(f"looking at the step: {what}")
        limit_s = step_limit_s * max(1, calls)
        return process.request(name, limit_s, **arguments)

    steps = _steps_in(PHASE_STEPS_S / 2, step_s)
    phases = ask("phases", "phases", 2 * steps, steps=steps)
    keep["phases"] = phases
    phase_s = {name: _median(seconds) for name, seconds in phases["seconds"].items()}
    keep["phase_s"] = phase_s
    keep["phase_shares"] = _shares(phase_s)
    keep["watching_cost"] = _median(phases["step_s"]) / _median(phases["plain_step_s"])
    keep["memory"] = {**ask("kinds", "memory", 1), "peak": trial.memory.get("peak_bytes")}
    keep["cores"] = ask("cores", "cores", _steps_in(CORE_WATCH_S, step_s), seconds=CORE_WATCH_S)
    keep["leak"] = ask("leak", "leaks", 2 * LEAK_STEPS, steps=LEAK_STEPS)
    _operators(ask, keep, phase_s, ceilings, settings, step_s)


def _operators(
    ask: Callable[..., Any],
    keep: dict[str, Any],
    phase_s: Mapping[str, float],
    ceilings: Ceilings,
    settings: StepSettings,
    step_s: float,
) -> None:
    """Take operators and lines last: a step may refuse to be watched, and run well all the same."""
    if settings.compile:
        keep["left_out"] = "operators and lines: a compiled step shows none; run without --compile"
        return
    steps = max(1, _steps_in(OPERATOR_STEPS_S, step_s) // 2)
    try:
        watched = ask("operators", "operators and lines", SLOWER_WHEN_WATCHED * steps, steps=steps)
    except IvmeError as error:
        keep["left_out"] = f"operators and lines: the step cannot be watched ({error})"
        return
    keep["lines"] = watched["lines"]
    keep["operator_cost"] = watched["watching_cost"]
    limits = apply_limits(watched["operators"], phase_s, ceilings, settings.dtype)
    # Of the quietest step each: what others take of the machine is no overhead of ours.
    whole_s, inside_s = min(watched["plain_step_s"]), min(watched["operator_step_s"])
    limits["framework_s"], limits["step_s"] = max(0.0, whole_s - inside_s), whole_s
    keep["limits"] = limits


def _steps_in(seconds: float, step_s: float) -> int:
    return max(FEWEST_STEPS, min(MOST_STEPS, int(seconds / max(step_s, 1e-6))))


def _shares(phase_s: Mapping[str, float]) -> dict[str, float]:
    whole_s = sum(phase_s.values())
    return {name: seconds / whole_s for name, seconds in phase_s.items()} if whole_s else {}


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds) if seconds else 0.0
