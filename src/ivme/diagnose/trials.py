"""Trials: one set of settings, run in a process of its own, and what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ivme.diagnose.settings import StepSettings
from ivme.diagnose.step_process import BUDGET, STEP_LIMIT, StepProcess
from ivme.errors import IvmeError
from ivme.measure.records import Comparison, Measurement
from ivme.measure.statistics import median
from ivme.measure.verdict import CONTROL, ComparePlan, judge

LEAST_CALL_S = 0.05  # shorter steps are run several at a time: a request takes 0.1 ms
BASELINE = "the present set-up"
WARMUP_STEPS = 2  # after the first; one where steps are slow
SLOW_STEP_S = 1.0
BUILD_STEPS = 2  # as long as so many hanging steps may loading a model take


@dataclass(kw_only=True)
class Trial:
    """Settings, the process that runs them while it is open, and their samples."""

    label: str  # unique in a diagnosis
    axis: str  # the setting that is turned, "together", or "" for the baseline
    settings: StepSettings
    process: StepProcess | None = None
    first_step_s: float | None = None
    expected_step_s: float = 0.0
    tokens: int | None = None  # a step
    items: int | None = None
    step_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    failure: str | None = None
    is_left_out: bool = False  # never compared; `failure` says why
    is_out_of_memory: bool = False
    fits_alone: bool = False  # into memory, but not beside the baseline

    def open(self, process: StepProcess, step_limit_s: float, compiling_s: float) -> None:
        """Build the step in a new process and warm it up.

        compiling_s: that the first step may take where it compiles, if the limit allows less.
        """
        self.process = process
        settings = self.settings.as_dict()
        built = process.request("build", BUILD_STEPS * step_limit_s, settings=settings)
        self.tokens, self.items, self.notes = built["tokens"], built["items"], built["notes"]
        first_s, option = step_limit_s, STEP_LIMIT
        if self.settings.compile and compiling_s > step_limit_s:
            first_s, option = compiling_s, BUDGET
        first = process.request("run", first_s, limit_option=option, steps=1)
        is_slow = not self.settings.compile and first["seconds"][0] > SLOW_STEP_S
        steps = 1 if is_slow else WARMUP_STEPS
        warm = process.request("run", steps * step_limit_s, steps=steps)
        self.first_step_s, self.expected_step_s = first["seconds"][0], min(warm["seconds"])
        self.memory = process.request("memory", step_limit_s)

    def leave_out(self, reason: str) -> None:
        """Note why the settings are not tried."""
        self.is_left_out, self.failure = True, f"left out: {reason}"

    def close(self) -> None:
        """End the process; the samples stay."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def call(self, limit_s: float) -> None:
        """Run as many steps as one call is made of, and keep their seconds.

        Raises IvmeError where they fail; the reason is kept too.
        """
        assert self.process is not None, "open the trial first"
        try:
            taken = self.process.request(
                "run", self.steps_per_call * limit_s, steps=self.steps_per_call
            )
        except IvmeError as error:
            self.failure = str(error)
            raise
        self.step_s += taken["seconds"]
        self.processor_s += taken["processor_s"]

    @property
    def steps_per_call(self) -> int:
        """Return how many steps make a call long enough to be timed from outside."""
        return max(1, math.ceil(LEAST_CALL_S / max(self.expected_step_s, 1e-6)))

    @property
    def call_s(self) -> float:
        """Return the seconds that a call will take, by the first steps."""
        return self.steps_per_call * self.expected_step_s

    @property
    def work_per_call(self) -> float:
        """Return the tokens of a call; where they are not known, its items or its steps."""
        return self.steps_per_call * float(self.tokens or self.items or 1)

    @property
    def tokens_per_s(self) -> float | None:
        """Return the throughput at the median step."""
        return self.tokens / median(self.step_s) if self.tokens and self.step_s else None

    def as_measurement(self, reference: str, facts: Mapping[str, Any]) -> Measurement:
        """Return the trial as a record keeps it."""
        samples = {"step": self.step_s, "process_time": self.processor_s}
        if self.first_step_s is not None:
            samples["first_step"] = [self.first_step_s]
        elapsed_s = sum(self.step_s)
        cores = facts.get("cores_available")
        return Measurement(
            label=self.label,
            configuration={
                "model": reference,
                **self.settings.as_dict(),
                "tokens": self.settings.sequence_length,
            },
            failure=self.failure,
            samples_s={name: tuple(taken) for name, taken in samples.items() if taken},
            items_per_call=self.items,
            tokens_per_call=self.tokens,
            peak_memory_bytes=self.memory.get("peak_bytes"),
            cuda_peak_memory_bytes=self.memory.get("cuda_peak_bytes"),
            processor_utilization=(
                min(1.0, sum(self.processor_s) / elapsed_s / cores) if elapsed_s and cores else None
            ),
            facts={"axis": self.axis, "worker_bytes": self.memory.get("worker_bytes"), **facts},
        )


def per_work(
    comparison: Comparison, baseline: Trial, variant: Trial, plan: ComparePlan
) -> Comparison:
    """Return the comparison with times for equal work: as many tokens as a step as it is.

    Calls of a larger batch do more, so their seconds are divided by what they do before the
    blocks are judged again.
    """
    unit = baseline.work_per_call / baseline.steps_per_call
    scales = {
        baseline.label: unit / baseline.work_per_call,
        CONTROL: unit / baseline.work_per_call,
        variant.label: unit / variant.work_per_call,
    }
    blocks = [
        {**block, "seconds": {
            name: [one * scales[name] for one in seconds]
            for name, seconds in block["seconds"].items()
        }}
        for block in comparison.blocks
    ]  # fmt: skip
    return judge(
        blocks,
        baseline.label,
        variant.label,
        plan=plan,
        looks=len(plan.looks),
        stopped_by=comparison.stopped_by,
    )
