"""The examination: everything about the step as it is, in a process that times nothing later."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ivme.diagnose.limits import apply_limits
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.trials import Trial
from ivme.errors import IvmeError
from ivme.hardware.ceilings import Ceilings

PHASE_STEPS_S = 2.0  # seconds of steps in which phases are timed
OPERATOR_STEPS_S = 1.0
CORE_WATCH_S = 1.5
LEAK_STEPS_S = 4.0
MOST_STEPS, MOST_LEAK_STEPS, FEWEST_LEAK_STEPS = 20, 9, 3
SLOW_STEP_S = 1.0  # beside such a step, what the first watched one costs besides is nothing
WATCHED = 2.0  # times as long as a plain step may a watched one take
LEAK_RUNS = 5  # besides, to name what grows; see leaks.find_leak
LEAST_ROOM_S = 12.0  # short steps are looked at whole, whatever the budget
SLOWER_WHEN_WATCHED = 20  # times; what the time limits of watched steps allow for


@dataclass(frozen=True, kw_only=True)
class ExaminationPlan:
    """How many steps each part of an examination takes; 0: there is no room for it."""

    phase_steps: int
    operator_steps: int
    leak_steps: int
    has_warm_up: bool


def plan_examination(step_s: float, room_s: float) -> ExaminationPlan:
    """Return what fits into so many seconds: phases always, then operators, then leaks."""
    room = max(room_s, LEAST_ROOM_S) / max(step_s, 1e-6)  # in steps
    warm_up = 0 if step_s >= SLOW_STEP_S else 1
    fewest = 2 if room >= 6 else 1
    phases = _steps_in(PHASE_STEPS_S, step_s, fewest, MOST_STEPS)
    operators = _steps_in(OPERATOR_STEPS_S, step_s, 1, MOST_STEPS // 2)
    leaks = _steps_in(LEAK_STEPS_S, step_s, FEWEST_LEAK_STEPS, MOST_LEAK_STEPS)
    room -= 2 * phases + warm_up + 1 + max(1.0, CORE_WATCH_S / max(step_s, 1e-6))
    needed = (operators + warm_up) * (1 + WATCHED)
    if needed > room:
        operators = 0
    else:
        room -= needed
    return ExaminationPlan(
        phase_steps=phases,
        operator_steps=operators,
        leak_steps=leaks if leaks + LEAK_RUNS <= room else 0,
        has_warm_up=bool(warm_up),
    )


def examine(
    trial: Trial,
    ceilings: Ceilings,
    step_limit_s: float,
    room_s: float,
    tell: Callable[[str], None],
    keep: dict[str, Any],
) -> None:
    """Take the anatomy of an open trial, part by part, into `keep`.

    room_s: about what all of it may take. Parts that cannot be taken leave their reasons in
    keep["left_out"]; where the step itself fails, IvmeError is passed on, and what was taken
    before is kept.
    """
    process, settings = trial.process, trial.settings
    assert process is not None, "open the trial first"
    step_s = trial.expected_step_s
    plan = plan_examination(step_s, room_s)
    keep["left_out"] = []

    def ask(name: str, what: str, calls: float, **arguments: Any) -> Any:
        tell(f"looking at the step: {what}")
        limit_s = step_limit_s * max(1, calls)
        return process.request(name, limit_s, **arguments)

    steps, has_warm_up = plan.phase_steps, plan.has_warm_up
    phases = ask("phases", "phases", 2 * steps + 1, steps=steps, has_warm_up=has_warm_up)
    keep["phases"] = phases
    phase_s = {name: _median(seconds) for name, seconds in phases["seconds"].items()}
    keep["phase_s"] = phase_s
    keep["phase_shares"] = _shares(phase_s)
    keep["watching_cost"] = _median(phases["step_s"]) / _median(phases["plain_step_s"])
    keep["memory"] = {**ask("kinds", "memory", 1), "peak": trial.memory.get("peak_bytes")}
    keep["cores"] = ask("cores", "cores", 1 + CORE_WATCH_S / step_limit_s, seconds=CORE_WATCH_S)
    if plan.leak_steps:
        keep["leak"] = ask("leak", "leaks", 2 * MOST_STEPS, steps=plan.leak_steps)
    else:
        keep["left_out"].append(_no_room("leaks", step_s))
    _operators(ask, keep, ceilings, settings, plan, step_s)


def _no_room(what: str, step_s: float) -> str:
    return f"{what}: not looked at, steps of {step_s:.1f} s leave no time for it; raise --budget"


def _operators(
    ask: Callable[..., Any],
    keep: dict[str, Any],
    ceilings: Ceilings,
    settings: StepSettings,
    plan: ExaminationPlan,
    step_s: float,
) -> None:
    """Take operators and lines last: a step may refuse to be watched, and run well all the same."""
    left_out, phase_s = keep["left_out"], keep["phase_s"]
    steps = plan.operator_steps
    if settings.compile:
        left_out.append("operators and lines: a compiled step shows none; run without --compile")
        return
    if not steps:
        left_out.append(_no_room("operators and lines", step_s))
        return
    try:
        watched = ask(
            "operators",
            "operators and lines",
            SLOWER_WHEN_WATCHED * (steps + 1),
            steps=steps,
            has_warm_up=plan.has_warm_up,
        )
    except IvmeError as error:
        left_out.append(f"operators and lines: the step cannot be watched ({error})")
        return
    keep["lines"] = watched["lines"]
    keep["operator_cost"] = watched["watching_cost"]
    limits = apply_limits(watched["operators"], phase_s, ceilings, settings.dtype)
    # Of the quietest step each: what others take of the machine is no overhead of ours.
    whole_s, inside_s = min(watched["plain_step_s"]), min(watched["operator_step_s"])
    limits["framework_s"], limits["step_s"] = max(0.0, whole_s - inside_s), whole_s
    keep["limits"] = limits


def _steps_in(seconds: float, step_s: float, fewest: int, most: int) -> int:
    return max(fewest, min(most, int(seconds / max(step_s, 1e-6))))


def _shares(phase_s: Mapping[str, float]) -> dict[str, float]:
    whole_s = sum(phase_s.values())
    return {name: seconds / whole_s for name, seconds in phase_s.items()} if whole_s else {}


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds) if seconds else 0.0
