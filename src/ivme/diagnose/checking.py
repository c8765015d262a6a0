"""The check: the advised settings against the set-up as it is, once more, in fresh processes."""

from collections.abc import Mapping
from typing import Any

from ivme.diagnose.axes import Axis
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.sweep import Sweep
from ivme.errors import IvmeError
from ivme.measure.records import Comparison

CHECK_BUDGET_S = 30.0
CHECK = "check"


def check_promise(
    sweep: Sweep, baseline: StepSettings, advised: StepSettings, promise: Mapping[str, Any]
) -> tuple[dict[str, Any], Comparison | None]:
    """Return whether the promised gain is there again, and the comparison that says so.

    sweep: a new one, so that both sides run in processes that did nothing before. "kept": the
    gain measured now is inside the promised interval or above it. "within noise": it is below,
    but the two intervals overlap. "not kept": they do not.
    """
    try:
        sweep.start(baseline)
        sweep.run_axes([Axis(name=CHECK, variants=(advised,))], CHECK_BUDGET_S, is_needed=True)
    finally:
        sweep.close()
    trial = sweep.trials[-1]
    if trial.comparison is None:
        raise IvmeError(f"the check of {trial.label} did not run: {trial.failure}")
    comparison = trial.comparison
    low, high = 1 / comparison.interval[1], 1 / comparison.interval[0]
    speedup, promised_low = 1 / comparison.ratio, promise["interval"][0]
    verdict = "not kept"
    if speedup >= promised_low:
        verdict = "kept"
    elif high >= promised_low:
        verdict = "within noise"
    found = {
        "verdict": verdict,
        "speedup": speedup,
        "interval": [low, high],
        "promised": promise["speedup"],
        "promised_interval": list(promise["interval"]),
    }
    return found, comparison
