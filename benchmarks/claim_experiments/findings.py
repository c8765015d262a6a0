"""What experiments have in common: how long they may take, comparing, and facts with intervals."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ivme.measure.compare import ComparePlan, compare
from ivme.measure.fresh_process import measure_in_fresh_process
from ivme.measure.records import Comparison
from ivme.measure.statistics import hierarchical_interval

FRESH_RUNS = 2  # of each case whose memory is measured


@dataclass(frozen=True, kw_only=True)
class Place:
    """How thoroughly to measure, and on what."""

    budget_s: float  # of one comparison
    threads: int
    is_tiny: bool = False  # small models and sizes: only to see that an experiment runs
    device: str = "cpu"

    def size(self, usual: Any, tiny: Any) -> Any:
        """Return the size to measure at."""
        return tiny if self.is_tiny else usual

    def model(self, preset: str) -> str:
        """Return the preset to measure on."""
        return "preset:bert-tiny" if self.is_tiny else f"preset:{preset}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What an experiment found: paired comparisons, and single figures by name."""

    comparisons: Sequence[Comparison] = ()
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def in_turns(
    ways: Mapping[str, Callable[[], object]], place: Place, *, warmup_calls: int = 2
) -> list[Comparison]:
    """Return how the other ways compare with the first, measured in turns with equal threads."""
    plan = ComparePlan(budget_s=place.budget_s, min_visit_s=0.0, warmup_calls=warmup_calls)
    return compare(ways, plan=plan, threads=dict.fromkeys(ways, place.threads))


def fact(samples: Sequence[float]) -> dict[str, float]:
    """Return the median of the samples with its 95% interval."""
    low, high = hierarchical_interval([[one] for one in samples])
    return {"value": statistics.median(samples), "low": low, "high": high}


def exact(value: float) -> dict[str, float]:
    """Return a figure that is counted, not measured."""
    return {"value": value, "low": value, "high": value}


def seconds_of(run: Callable[[], object], calls: int) -> dict[str, float]:
    """Return the seconds of a call, once it is warm."""
    for _ in range(2):
        run()
    samples = []
    for _ in range(calls):
        start_s = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start_s)
    return fact(samples)


def saved_memory(
    function: str, before: Mapping[str, Any], after: Mapping[str, Any], place: Place
) -> dict[str, dict[str, float]]:
    """Return the bytes of both cases, what the second saves in percent, and their ratio.

    function: "module:name", run in fresh processes that take turns; the bytes are what it returns,
    or the peak of the process if it returns nothing.
    """
    peaks: list[tuple[int, int]] = []
    for _ in range(place.size(FRESH_RUNS, 1)):
        runs = [measure_in_fresh_process(function, case) for case in (before, after)]
        first, second = (run.value or run.peak_memory_bytes for run in runs)
        peaks.append((first, second))
    return {
        "before": fact([float(one) for one, _ in peaks]),
        "after": fact([float(one) for _, one in peaks]),
        "saved_percent": fact([100 * (1 - after / before) for before, after in peaks]),
        "ratio": fact([before / after for before, after in peaks]),
    }


def usable_threads() -> int:
    """Return the threads to use: as OMP_NUM_THREADS says, else one a core of this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else len(os.sched_getaffinity(0))
