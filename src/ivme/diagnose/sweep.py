"""The sweep: trials of one axis side by side with the set-up as it is, in turns.

What does not fit into memory, fails or is too slow for the budget is kept as such, and the sweep
goes on with the rest.
"""

from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext

from ivme.diagnose.axes import Axis
from ivme.diagnose.settings import StepSettings, describe
from ivme.diagnose.step_process import StepProcess
from ivme.diagnose.targets import Target
from ivme.diagnose.trials import BASELINE, LEAST_CALL_S, Trial, per_work
from ivme.errors import IvmeError, OutOfMemoryError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.compare import compare
from ivme.measure.verdict import ComparePlan

BLOCKS = 8  # enough for a verdict, all in one look
VISITS = 3
FIRST_STEPS = 3  # of each variant when its process is new
CALIBRATION_STEPS = 3  # of each, and of the baseline, before the first block
FEWEST_BLOCKS = 6  # that a verdict takes
SIZES = ("batch_size", "sequence_length")  # axes of which larger values take more memory
SLACK = 1.3  # a busy machine makes steps slower than the first ones were


class Sweep:
    """The trials of one diagnosis.

    The baseline's process stays open, but for a look whether a variant fits into memory alone.
    step_limit_s: for any step. compiling_s: for the first step of settings that compile, if more.
    """

    def __init__(
        self,
        target: Target,
        context: BaseContext,
        *,
        step_limit_s: float,
        compiling_s: float,
        seed: int,
        tell: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self.trials: list[Trial] = []
        self._target, self._context, self._seed = target, context, seed
        self._step_limit_s, self._compiling_s, self._tell = step_limit_s, compiling_s, tell
        self._clock = clock or SystemClock()
        self.baseline: Trial | None = None

    def start(self, settings: StepSettings) -> Trial:
        """Open the set-up as it is; raises IvmeError where it does not run."""
        self.baseline = Trial(label=BASELINE, axis="", settings=settings)
        self.trials.append(self.baseline)
        self.open_baseline()
        return self.baseline

    def open_baseline(self) -> None:
        """Open the set-up as it is in a process that did nothing before; raises as `start`."""
        assert self.baseline is not None
        self.baseline.close()
        try:
            self._open(self.baseline)
        except IvmeError as error:
            self.baseline.failure = str(error)
            raise

    def close(self) -> None:
        """End every process."""
        for trial in self.trials:
            trial.close()

    def run_axes(
        self,
        axes: Sequence[Axis],
        budget_s: float,
        most_s: float | None = None,
        *,
        is_needed: bool = False,
    ) -> None:
        """Measure the variants of some axes against the baseline, all in turns.

        budget_s: what they should take. most_s: what they may take where that is what a verdict
        needs; variants that need more are left out, the others are not. is_needed: measure them
        whatever it takes.
        """
        start_s, most_s = self._clock.now(), most_s or budget_s
        waiting = [self._new_trial(axis, one) for axis in axes for one in axis.variants]
        is_open: list[Trial] = []
        while waiting:
            trial = waiting.pop(0)
            left_s = most_s - (self._clock.now() - start_s)
            if not is_needed and not self._fits(trial, is_open, left_s):
                continue
            self._tell(f"{trial.label}: first steps")
            try:
                self._open(trial)
                is_open.append(trial)
            except OutOfMemoryError:
                trial.close()
                if not is_open:
                    self._try_alone(trial)
                    continue
                # Others hold memory: measure them, end them, try again beside the baseline.
                self._compare(is_open, left_s / (1 + len(waiting)))
                is_open = []
                waiting.insert(0, trial)
            except IvmeError as error:
                trial.close()
                trial.failure = str(error)
        self._compare(is_open, budget_s - (self._clock.now() - start_s))

    def cost_s(self, settings: StepSettings) -> float:
        """Return the seconds that a verdict on these settings alone takes, by their size."""
        return self._cost_s([self._expected_s(settings)], self._expected_s(settings))

    def _new_trial(self, axis: Axis, settings: StepSettings) -> Trial:
        assert self.baseline is not None
        label = describe(settings.differences(self.baseline.settings))
        trial = Trial(label=label, axis=axis.name, settings=settings)
        self.trials.append(trial)
        return trial

    def _open(self, trial: Trial) -> None:
        process = StepProcess(self._target, self._context)
        trial.open(process, self._step_limit_s, self._compiling_s)

    def _try_alone(self, trial: Trial) -> None:
        """Note whether a variant fits into memory that does not beside the baseline."""
        assert self.baseline is not None
        self._tell(f"{trial.label}: alone")
        self.baseline.close()
        try:
            self._open(trial)
            trial.fits_alone = True
            trial.leave_out(
                f"it fits into memory alone, but not beside {BASELINE}, so it cannot be compared"
            )
        except IvmeError as error:
            trial.failure = str(error)
            trial.is_out_of_memory = isinstance(error, OutOfMemoryError)
        finally:
            trial.close()
        self.open_baseline()

    def _expected_s(self, settings: StepSettings) -> float:
        """Return about what a call takes, if tokens cost what they cost the baseline."""
        assert self.baseline is not None
        own = self.baseline.settings
        tokens, own_tokens = (
            one.batch_size * one.sequence_length * one.accumulation for one in (settings, own)
        )
        return max(LEAST_CALL_S, self.baseline.expected_step_s * tokens / own_tokens)

    def _cost_s(self, calls_s: Sequence[float], new_s: float) -> float:
        """Return the seconds of a comparison of such calls, after the first steps of the new one.

        A block runs the baseline twice: the second time as the control.
        """
        assert self.baseline is not None
        variants_s, baseline_s = sum(calls_s), self.baseline.call_s
        calibration_s = CALIBRATION_STEPS * (baseline_s + variants_s)
        blocks_s = FEWEST_BLOCKS * (2 * baseline_s + variants_s)
        return FIRST_STEPS * new_s + calibration_s + blocks_s

    def _fits(self, trial: Trial, is_open: Sequence[Trial], left_s: float) -> bool:
        """Return whether a variant can be measured beside those that are open; note it if not."""
        if self._is_too_large(trial):
            return False
        call_s = self._expected_s(trial.settings)
        needed_s = self._cost_s([*(one.call_s for one in is_open), call_s], call_s)
        if needed_s <= left_s:
            return True
        trial.leave_out(
            f"about {needed_s:.0f} s of steps do not fit into the {max(left_s, 0.0):.0f} s left "
            "for it; raise --budget"
        )
        return False

    def _is_too_large(self, trial: Trial) -> bool:
        """Return whether a smaller one of its axis took too much memory; note it if so."""
        if trial.axis not in SIZES:
            return False
        value = getattr(trial.settings, trial.axis)
        smaller = [
            one
            for one in self.trials
            if (one.is_out_of_memory or one.fits_alone)
            and one.axis == trial.axis
            and getattr(one.settings, trial.axis) < value
        ]
        if smaller:
            one = smaller[0]
            beside = f" beside {BASELINE}" if one.fits_alone else ""
            trial.leave_out(f"{one.label} does not fit into memory{beside}, and this is larger")
        return bool(smaller)

    def _compare(self, trials: list[Trial], budget_s: float) -> None:
        """Compare open trials with the baseline in turns, then end them."""
        assert self.baseline is not None
        try:
            left = list(trials)
            while left:
                round_s = sum(one.call_s for one in (self.baseline, self.baseline, *left))
                calls = CALIBRATION_STEPS + FEWEST_BLOCKS + 1
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
