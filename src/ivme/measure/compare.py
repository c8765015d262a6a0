"""Comparisons: variants timed side by side, so that the machine's noise hits all alike.

A block visits every variant several times, each time in a new random order; the seed fixes the
orders. What changes slowly (temperature, neighbors, clock frequency) is the same for the visits
of one round and cancels in their ratio; what changes between blocks is what the hierarchical
bootstrap resamples. The baseline runs a second time in a slot of its own, the A/A control: it
must not differ from itself, and if it does, no verdict of the run is trusted.

Why looking several times does not inflate the errors: an interval that is looked at until it
says something says something false far more often than 5%. Here the looks are fixed before the
first sample (`ComparePlan.looks`: after 10, 20 and 40 blocks), and each of K looks uses an
interval at 1 - 5% / K (Bonferroni), so that all together miss with 5% at most, however the looks
depend on each other. At the looks, only the width decides whether to stop, never the verdict. A
budget or an interrupt ends the run in place of the looks that were still to come, so that it adds
none. The interval reported is the one used: at 1 - 5% / K, wider than one look would need.
Several variants against one baseline are several comparisons, each with its own 5%.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ivme.errors import ThreadMismatchError, UsageError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.records import Comparison
from ivme.measure.verdict import CONTROL, ComparePlan, judge, log_differences, ratio_interval

__all__ = ["CONTROL", "ComparePlan", "Progress", "calibrate_calls", "compare", "judge"]

MAX_CALLS_PER_VISIT = 1_000_000  # where calls take no time that the clock can see
CALIBRATION_VISITS = 3
SIMILAR_SPEED = 1.5  # the largest ratio at which variants get the same number of calls


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a comparison is, after a block."""

    blocks: int
    max_blocks: int
    elapsed_s: float
    budget_s: float

    @property
    def fraction(self) -> float:
        """Return the part that is done, 0..1, of blocks or budget, whichever is further."""
        return min(1.0, max(self.blocks / self.max_blocks, self.elapsed_s / self.budget_s))


def compare(
    variants: Mapping[str, Callable[[], object]],
    *,
    baseline: str | None = None,
    plan: ComparePlan | None = None,
    clock: Clock | None = None,
    threads: Mapping[str, int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Comparison]:
    """Return a comparison of every other variant with the baseline, by default the first.

    variants: by name, calls that return when the work is done. threads: the number that each
    variant uses; unequal numbers are refused. The run stops when all intervals are narrow enough
    ("width"), when the next block would exceed the budget ("budget"), after `plan.max_blocks`
    ("blocks"), or at Ctrl-C ("interrupted": whole blocks are kept and judged; before the first
    the interrupt is passed on). Seconds in the blocks are of one call.

    Raises:
        UsageError: fewer than two variants, or a baseline that is not among them.
        ThreadMismatchError: variants would not run with equal threads.
    """
    plan, clock = plan or ComparePlan(), clock or SystemClock()
    baseline = _checked_baseline(variants, baseline)
    agreed_threads = _agreed_threads(variants, threads)
    run = _Run(variants, baseline, plan, clock)
    stopped_by = run.take_blocks(on_progress)
    return [
        judge(
            run.blocks,
            baseline,
            name,
            plan=plan,
            looks=len(plan.looks),
            threads=agreed_threads,
            stopped_by=stopped_by,
        )
        for name in variants
        if name != baseline
    ]


def calibrate_calls(
    variants: Mapping[str, Callable[[], object]], baseline: str, clock: Clock, min_visit_s: float
) -> dict[str, int]:
    """Return for each variant how many calls one visit makes, to take `min_visit_s` or longer.

    Variants of about the baseline's speed get its number exactly. On a busy machine the length of
    a visit itself changes the time per call, because a long one is interrupted and a short one is
    not: unequal numbers made one and the same function look twice as fast as itself.
    """
    call_s = {name: _fastest_call(run, clock, min_visit_s) for name, run in variants.items()}
    calls = {name: _calls_for(min_visit_s, seconds) for name, seconds in call_s.items()}
    for name, seconds in call_s.items():
        if max(seconds, call_s[baseline]) <= SIMILAR_SPEED * min(seconds, call_s[baseline]):
            calls[name] = calls[baseline]
    return calls


def _fastest_call(run: Callable[[], object], clock: Clock, min_visit_s: float) -> float:
    """Return the seconds of one call without interruptions: the fastest of a few visits."""
    calls = 1
    while True:
        call_s = min(_visit(run, calls, clock) for _ in range(CALIBRATION_VISITS))
        if call_s * calls >= min_visit_s or calls == MAX_CALLS_PER_VISIT:
            return call_s
        # Never more than tenfold, as the first calls are slow.
        calls = min(10 * calls, _calls_for(min_visit_s, call_s))


def _calls_for(min_visit_s: float, call_s: float) -> int:
    if call_s * MAX_CALLS_PER_VISIT <= min_visit_s:
        return MAX_CALLS_PER_VISIT
    return max(1, math.ceil(min_visit_s / call_s))


class _Run:
    """The timing part of one comparison: warm-up, calibration, blocks."""

    def __init__(
        self,
        variants: Mapping[str, Callable[[], object]],
        baseline: str,
        plan: ComparePlan,
        clock: Clock,
    ) -> None:
        self.blocks: list[dict[str, Any]] = []
        self._plan, self._clock, self._baseline = plan, clock, baseline
        self._slots = {**variants, CONTROL: variants[baseline]}
        self._random = random.Random(plan.seed)
        self._start_s = clock.now()
        for run in variants.values():
            for _ in range(plan.warmup_calls):
                run()
        self._calls = calibrate_calls(variants, baseline, clock, plan.min_visit_s)
        self._calls[CONTROL] = self._calls[baseline]

    def take_blocks(self, on_progress: Callable[[Progress], None] | None) -> str:
        """Fill `blocks` and return why it stopped."""
        plan, visits = self._plan, 1
        try:
            while True:
                block_start_s = self._clock.now()
                self.blocks.append(self._take_block(visits))
                end_s = self._clock.now()
                elapsed_s, block_s = end_s - self._start_s, end_s - block_start_s
                if len(self.blocks) == 1:
                    visits = self._affordable_visits(elapsed_s, block_s)
                if on_progress is not None:
                    on_progress(self._progress(elapsed_s))
                if len(self.blocks) in plan.looks and self._is_narrow():
                    return "width"
                if len(self.blocks) == plan.max_blocks:
                    return "blocks"
                if elapsed_s + block_s > plan.budget_s:
                    return "budget"
        except KeyboardInterrupt:
            if not self.blocks:
                raise
            return "interrupted"

    def _take_block(self, visits: int) -> dict[str, Any]:
        order: list[str] = []
        seconds: dict[str, list[float]] = {name: [] for name in self._slots}
        for _ in range(visits):
            names = list(self._slots)
            self._random.shuffle(names)
            for name in names:
                call_s = _visit(self._slots[name], self._calls[name], self._clock)
                seconds[name].append(call_s)
            order += names
        return {"order": order, "seconds": seconds, "calls": dict(self._calls)}

    def _affordable_visits(self, elapsed_s: float, round_s: float) -> int:
        """Return how many visits leave budget for all blocks: blocks tell more than visits."""
        rounds = (self._plan.budget_s - elapsed_s) / max(round_s, 1e-9)
        return int(max(1, min(self._plan.visits, rounds // self._plan.max_blocks)))

    def _is_narrow(self) -> bool:
        others = [name for name in self._slots if name not in (self._baseline, CONTROL)]
        for name in others:
            differences = log_differences(self.blocks, self._baseline, name)
            low, high = ratio_interval(differences, self._plan, len(self._plan.looks))
            if high / low - 1 > self._plan.interval_width:
                return False
        return True

    def _progress(self, elapsed_s: float) -> Progress:
        return Progress(
            blocks=len(self.blocks),
            max_blocks=self._plan.max_blocks,
            elapsed_s=elapsed_s,
            budget_s=self._plan.budget_s,
        )


def _visit(run: Callable[[], object], calls: int, clock: Clock) -> float:
    """Return the seconds of one call, timed over so many, once the one before has died down."""
    clock.rest()
    start_s = clock.now()
    for _ in range(calls):
        run()
    return (clock.now() - start_s) / calls


def _checked_baseline(variants: Mapping[str, object], baseline: str | None) -> str:
    if len(variants) < 2 or CONTROL in variants:
        raise UsageError(
            f"variants={list(variants)}; expected two or more, none of them named {CONTROL!r}"
        )
    if baseline is None:
        return next(iter(variants))
    if baseline not in variants:
        raise UsageError(f"baseline={baseline!r}; expected one of {list(variants)}")
    return baseline


def _agreed_threads(
    variants: Mapping[str, object], threads: Mapping[str, int] | None
) -> int | None:
    if threads is None:
        return None
    if set(threads) != set(variants):
        raise UsageError(f"threads names {sorted(threads)}; expected {sorted(variants)}")
    if len(set(threads.values())) > 1:
        given = ", ".join(f"{name}: {count}" for name, count in threads.items())
        raise ThreadMismatchError(
            f"variants differ in threads ({given}); expected the same number for all: set one "
            "number for every engine"
        )
    return next(iter(threads.values()))
