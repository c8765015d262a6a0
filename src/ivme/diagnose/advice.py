"""Advice: what to change, in order of measured gain; what does not help; who is to blame.

Everything here is read off trials. A promise is made only of settings that were measured again
after they were chosen: the best of many looks better than it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ivme.diagnose.axes import NOT_ADVISED
from ivme.diagnose.settings import StepSettings, describe
from ivme.diagnose.trials import Trial
from ivme.measure.records import Comparison

WORTH = 1.05  # a gain that an interval must rule out before a suspect is cleared
SAME_SPEED = 1.02  # of sizes no further apart, the smaller one is taken
CONFIRMED_PREFIX = "advised: "  # of their label
CONFIRMED = "advised"  # the axis of the settings that were measured again

SUSPECTS = {
    "batch_size": "batch size",
    "workers": "data workers",
    "threads": "threads",
    "dtype": "precision",
    "compile": "compiling",
}
CAUTIONS = {
    "batch_size": "fewer steps make an epoch: the learning rate may want to be higher",
    "dtype": "products round to bfloat16: look at the loss",
    "compile": "the first step compiles",
}

CommandFor = Callable[[StepSettings], str]


def best_of_axes(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return the fastest trial of each axis on which one was faster than the baseline.

    Of batch sizes within SAME_SPEED of the fastest, the smallest.
    """
    best: dict[str, Trial] = {}
    for axis in dict.fromkeys(one.axis for one in trials if one.axis):
        faster = [one for one in trials if one.axis == axis and _is_faster(one)]
        if not faster:
            continue
        limit = min(_ratio(one) for one in faster) * SAME_SPEED
        if axis == "batch_size":
            near = [one for one in faster if _ratio(one) <= limit]
            best[axis] = min(near, key=lambda one: one.settings.batch_size)
        else:
            best[axis] = min(faster, key=_ratio)
    return best


def choose(baseline: StepSettings, trials: Sequence[Trial]) -> Trial | None:
    """Return the trial to advise: the fastest that changes only what may be advised."""
    allowed = [
        one
        for one in trials
        if _is_faster(one) and not set(one.settings.differences(baseline)) & set(NOT_ADVISED)
    ]
    if not allowed:
        return None
    limit = min(map(_ratio, allowed)) * SAME_SPEED
    near = [one for one in allowed if _ratio(one) <= limit]
    return min(near, key=lambda one: (len(one.settings.differences(baseline)), _size(one)))


def list_advice(
    baseline: Trial, trials: Sequence[Trial], command_for: CommandFor
) -> list[dict[str, Any]]:
    """Return what to change, the largest gain first; the confirmed settings count as measured."""
    confirmed = [one for one in trials if one.axis == CONFIRMED and one.comparison is not None]
    best = best_of_axes([one for one in trials if one.axis != CONFIRMED])
    singles = [one for axis, one in best.items() if axis not in NOT_ADVISED]
    settings = [one.settings for one in confirmed]
    rows = [one for one in confirmed if _is_faster(one)]
    rows += [one for one in singles if one.settings not in settings]
    return [_advice(baseline, one, command_for(one.settings)) for one in sorted(rows, key=_ratio)]


def unconfirmed(trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Return the settings that seemed faster and were not when measured again, None if none."""
    for one in trials:
        if one.axis == CONFIRMED and one.comparison is not None and not _is_faster(one):
            return {"label": one.label.removeprefix(CONFIRMED_PREFIX),
                    **_speedup(one.comparison)}  # fmt: skip
    return None


def list_no_help(baseline: Trial, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return what was tried and does not help, and why it does not."""
    rows = []
    for one in trials:
        if one is baseline or one.is_left_out or _is_faster(one) or one.axis == CONFIRMED:
            continue
        row: dict[str, Any] = {"label": one.label, "axis": one.axis, "failure": one.failure}
        if one.comparison is not None:
            row |= {"verdict": one.comparison.verdict, **_speedup(one.comparison)}
        rows.append(row)
    return rows


def list_left_out(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return what was never compared, and why."""
    return [
        {"label": one.label, "axis": one.axis, "reason": one.failure}
        for one in trials
        if one.is_left_out
    ]


def list_suspects(
    baseline: Trial, trials: Sequence[Trial], phase_shares: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return for each usual suspect whether it is the problem, and the figures that say so."""
    rows = []
    again = [one for one in trials if one.axis == CONFIRMED and one.comparison is not None]
    doubted = [one.settings for one in again if not _is_faster(one)]
    for axis, name in SUSPECTS.items():
        tried = [one for one in trials if one.axis == axis]
        measured = [one for one in tried if one.comparison is not None]
        if not tried:
            continue
        row: dict[str, Any] = {"axis": axis, "name": name, "verdict": _blame(measured, doubted)}
        if axis == "workers" and "data" in phase_shares:
            share = phase_shares["data"] + phase_shares.get("tokenization", 0.0)
            row |= {"share": share, "most_gain": 1 / (1 - min(share, 0.999))}
            if row["verdict"] == "undecided" and row["most_gain"] < SAME_SPEED:
                row["verdict"] = "no"  # whatever the machine's noise: there is nothing to gain
        if measured:
            best = best_of_axes(measured).get(axis) or min(measured, key=_ratio)
            assert best.comparison is not None
            row |= {"best": best.label, **_speedup(best.comparison)}
        else:
            row["failure"] = tried[0].failure
        rows.append(row)
    return rows


def savings(baseline: Trial, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return what takes less memory at the same work, and what it costs in speed."""
    own = baseline.memory.get("peak_bytes") or 0
    rows = []
    for one in trials:
        peak = one.memory.get("peak_bytes") or own
        smaller = peak < own / SAME_SPEED
        if one.axis in ("checkpointing", "dtype") and one.comparison is not None and smaller:
            saved = 1 - peak / own
            rows.append({"label": one.label, "saved_share": saved, **_speedup(one.comparison)})
    return rows


def _advice(baseline: Trial, trial: Trial, command: str) -> dict[str, Any]:
    assert trial.comparison is not None
    changes = trial.settings.differences(baseline.settings)
    speed = _speedup(trial.comparison)
    return {
        "label": describe(changes),
        "changes": changes,
        "is_confirmed": trial.axis == CONFIRMED,
        **speed,
        **_throughput(baseline, speed),
        "peak_memory_bytes": trial.memory.get("peak_bytes"),
        "command": command,
        "cautions": [CAUTIONS[name] for name in changes if name in CAUTIONS],
    }


def _throughput(baseline: Trial, speed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the throughput promised: the baseline's, times the measured gain."""
    own = baseline.tokens_per_s
    if own is None:
        return {}
    low, high = speed["interval"]
    return {
        "tokens_per_s": own * speed["speedup"],
        "tokens_per_s_interval": [own * low, own * high],
    }


def _speedup(comparison: Comparison) -> dict[str, Any]:
    low, high = comparison.interval
    return {"speedup": 1 / comparison.ratio, "interval": [1 / high, 1 / low]}


def _blame(measured: Sequence[Trial], doubted: Sequence[StepSettings]) -> str:
    """Return whether turning a setting helps: "yes", "no" or "undecided".

    doubted: settings that were not faster when measured again; they show nothing.
    """
    faster = [one for one in measured if _is_faster(one)]
    if any(one.settings not in doubted for one in faster):
        return "yes"
    found = [one.comparison for one in measured if one.comparison is not None]
    is_open = [one for one in found if one.verdict == "undecided" and 1 / one.interval[0] > WORTH]
    return "undecided" if faster or is_open or not found else "no"


def _is_faster(trial: Trial) -> bool:
    return trial.comparison is not None and trial.comparison.verdict == "faster"


def _ratio(trial: Trial) -> float:
    assert trial.comparison is not None
    return trial.comparison.ratio


def _size(trial: Trial) -> int:
    return trial.settings.batch_size
