"""The sweep: trials of one axis side by side with the set-up as it is, in turns.

What does not fit into memory, fails or is too slow for the budget is kept as such, and the sweep
goes on with the rest.
"""

from collections.abc import Callable
from multiprocessing.context import BaseContext

from ivme.diagnose.axes import Axis
from ivme.diagnose.settings import StepSettings, describe
from ivme.diagnose.step_process import StepProcess
from ivme.diagnose.targets import Target
from ivme.diagnose.trials import BASELINE, Trial, per_work
from ivme.errors import IvmeError, OutOfMemoryError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.compare import compare
from ivme.measure.verdict import ComparePlan

BLOCKS = 8  # enough for a verdict, all in one look
VISITS = 3
STEPS_BEFORE = 6  # of each variant before the first block: three to warm up, three to calibrate
SLACK = 1.3  # a busy machine makes steps slower than the first ones were
FEWEST_BLOCKS = 6  # that a verdict takes
TOO_SLOW = 2.0  # times its part of the budget: an axis may overdraw it so far to get a verdict


class Sweep:
    """The trials of one diagnosis; the baseline's process stays open throughout."""

    def __init__(
        self,
        target: Target,
        context: BaseContext,
        *,
        step_limit_s: float,
        seed: int,
        tell: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self.trials: list[Trial] = []
        self._target, self._context, self._seed = target, context, seed
        self._step_limit_s, self._tell = step_limit_s, tell
        self._clock = clock or SystemClock()
        self.baseline: Trial | None = None

    def start(self, settings: StepSettings) -> Trial:
        """Open the set-up as it is; raises IvmeError where it does not run."""
        self.baseline = Trial(label=BASELINE, axis="", settings=settings)
        self.trials.append(self.baseline)
        try:
            self._open(self.baseline)
        except IvmeError as error:
            self.baseline.failure = str(error)
            raise
        return self.baseline

    def close(self) -> None:
        """End every process."""
        for trial in self.trials:
            trial.close()

    def run_axis(
        self,
        axis: Axis,
        budget_s: float,
        limit_s: float | None = None,
        *,
        is_needed: bool = False,
    ) -> None:
        """Measure the variants of an axis against the baseline, within the budget.

        limit_s: for the first step, where it may take longer than others: compiling. is_needed:
        measure them even where the budget is too short.
        """
        start_s = self._clock.now()
        waiting = [self._new_trial(axis, settings) for settings in axis.variants]
        is_open: list[Trial] = []
        while waiting:
            trial = waiting.pop(0)
            left_s = budget_s - (self._clock.now() - start_s)
            if not is_needed and not self._fits_budget(trial, left_s + (TOO_SLOW - 1) * budget_s):
                continue
            self._tell(f"{trial.label}: first steps")
            try:
                self._open(trial, limit_s)
                is_open.append(trial)
            except OutOfMemoryError as error:
                trial.close()
                if is_open:  # others hold memory: measure them, end them, try again alone
                    self._compare(is_open, left_s / (1 + len(waiting)))
                    is_open = []
                    waiting.insert(0, trial)
                    continue
                self._give_up(trial, waiting, axis, str(error))
            except IvmeError as error:
                trial.close()
                trial.failure = str(error)
        self._compare(is_open, budget_s - (self._clock.now() - start_s))

    def _new_trial(self, axis: Axis, settings: StepSettings) -> Trial:
        assert self.baseline is not None
        label = describe(settings.differences(self.baseline.settings))
        trial = Trial(label=label, axis=axis.name, settings=settings)
        self.trials.append(trial)
        return trial

    def _open(self, trial: Trial, limit_s: float | None = None) -> None:
        trial.open(StepProcess(self._target, self._context), self._step_limit_s, limit_s)

    def _fits_budget(self, trial: Trial, left_s: float) -> bool:
        """Return whether a variant of that size can be measured; note it where not."""
        assert self.baseline is not None
        settings, own = trial.settings, self.baseline.settings
        tokens = settings.batch_size * settings.sequence_length * settings.accumulation
        own_tokens = own.batch_size * own.sequence_length * own.accumulation
        step_s = self.baseline.expected_step_s * tokens / own_tokens
        needed_s = step_s * (STEPS_BEFORE + FEWEST_BLOCKS)
        if needed_s < left_s:
            return True
        trial.failure = (
            f"left out: about {needed_s:.0f} s of steps do not fit into the "
            f"{max(left_s, 0.0):.0f} s left for it; raise --budget"
        )
        return False

    def _give_up(self, trial: Trial, waiting: list[Trial], axis: Axis, reason: str) -> None:
        """Note that a size does not fit, and leave out the larger ones of its axis."""
        trial.failure = reason
        if axis.name not in ("batch_size", "sequence_length"):
            return
        value = getattr(trial.settings, axis.name)
        for other in [one for one in waiting if getattr(one.settings, axis.name) > value]:
            other.failure = f"left out: {trial.label} does not fit into memory, and this is larger"
            waiting.remove(other)

    def _compare(self, trials: list[Trial], budget_s: float) -> None:
        """Compare open trials with the baseline in turns, then end them."""
        assert self.baseline is not None
        try:
            left = list(trials)
            while left:
                round_s = sum(one.call_s for one in (self.baseline, self.baseline, *left))
                calls = STEPS_BEFORE // 2 + FEWEST_BLOCKS + 1
                plan = self.plan(max(budget_s, SLACK * calls * round_s))
                if self._compare_all(left, plan):
                    break
                left = [one for one in left if one.failure is None]
        finally:
            for trial in trials:
                trial.close()

    def _compare_all(self, trials: list[Trial], plan: ComparePlan) -> bool:
        """Compare; return False where a trial failed on the way. Raises where the baseline did."""
        assert self.baseline is not None
        self._tell(f"in turns: {', '.join(one.label for one in trials)}")
        slots = {one.label: self._slot(one) for one in (self.baseline, *trials)}
        try:
            found = compare(slots, baseline=self.baseline.label, plan=plan, clock=self._clock)
        except IvmeError:
            if self.baseline.failure is not None:
                raise
            return False
        for trial, comparison in zip(trials, found, strict=True):
            trial.comparison = per_work(comparison, self.baseline, trial, plan)
        if any(one.stopped_by == "interrupted" for one in found):
            raise KeyboardInterrupt
        return True

    def _slot(self, trial: Trial) -> Callable[[], None]:
        return lambda: trial.call(self._step_limit_s)

    def plan(self, budget_s: float) -> ComparePlan:
        """Return how long to compare: one look, after as many blocks as fit."""
        return ComparePlan(
            budget_s=budget_s,
            min_blocks=BLOCKS,
            max_blocks=BLOCKS,
            visits=VISITS,
            min_visit_s=0.0,
            warmup_calls=0,
            seed=self._seed,
        )
