"""What experiments have in common: how long they may take, comparing, and facts with intervals."""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ivme.evidence.readers import FEWEST_SAMPLES, doubt_of
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.fresh_process import measure_in_fresh_process
from ivme.measure.records import Comparison
from ivme.measure.statistics import hierarchical_interval
from ivme.measure.verdict import log_differences

FRESH_RUNS = 2  # of each case whose memory is measured
WARMUP_CALLS = 2
Fact = dict[str, Any]  # value, low, high, samples (0: counted), note: as readers.read_fact takes it


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
    facts: Mapping[str, Fact] = field(default_factory=dict)


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    place: Place,
    *,
    warmup_calls: int = 2,
    has_equal_threads: bool = True,
) -> list[Comparison]:
    """Return how the other ways compare with the first, measured in turns.

    The first calls are not of the budget: compiling takes longer than it. The first way runs twice
    in each block, so the slow one is better not the first. has_equal_threads: false where the ways
    set the numbers of their threads themselves.
    """
    for run in ways.values():
        for _ in range(warmup_calls):
            run()
    plan = ComparePlan(budget_s=place.budget_s, min_visit_s=0.0, warmup_calls=0)
    threads = dict.fromkeys(ways, place.threads) if has_equal_threads else None
    return compare(ways, plan=plan, threads=threads)


def fact(samples: Sequence[float], note: str | None = None) -> Fact:
    """Return the median of the samples with its 95% interval; of few, with their range.

    note: why the figure is not to be trusted as it is.
    """
    low, high = min(samples), max(samples)
    if len(samples) >= FEWEST_SAMPLES:
        low, high = hierarchical_interval([[one] for one in samples])
    value = statistics.median(samples)
    return {"value": value, "low": low, "high": high, "samples": len(samples), "note": note}


def exact(value: float) -> Fact:
    """Return a figure that is counted, not measured."""
    return {"value": value, "low": value, "high": value, "samples": 0, "note": None}


def over_the_best(comparisons: Sequence[Comparison], chosen: str) -> Fact:
    """Return the time of a way over that of the fastest of the others, paired in blocks.

    comparisons: of one run, of all ways with one of them.
    """
    baseline = comparisons[0].baseline
    ratios = {one.variant: one.ratio for one in comparisons} | {baseline: 1.0}
    best = min((name for name in ratios if name != chosen), key=ratios.__getitem__)
    logs = {
        one.variant: log_differences(one.blocks, one.baseline, one.variant) for one in comparisons
    }
    zeros = [[0.0] * len(block["seconds"][baseline]) for block in comparisons[0].blocks]
    pairs = zip(logs.get(chosen, zeros), logs.get(best, zeros), strict=True)
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in pairs]
    low, high = hierarchical_interval(differences)
    value = statistics.median(statistics.median(block) for block in differences)
    return {
        "value": math.exp(value),
        "low": math.exp(low),
        "high": math.exp(high),
        "samples": len(differences),
        "note": doubt_of(asdict(comparisons[0])),
    }


def seconds_of(run: Callable[[], object], calls: int) -> Fact:
    """Return the seconds of a call, once it is warm."""
    return fact(samples_of(run, calls))


def samples_of(run: Callable[[], object], calls: int) -> list[float]:
    """Return the seconds of each of so many calls, after WARMUP_CALLS."""
    for _ in range(WARMUP_CALLS):
        run()
    samples = []
    for _ in range(calls):
        start_s = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start_s)
    return samples


def saved_memory(
    function: str, before: Mapping[str, Any], after: Mapping[str, Any], place: Place
) -> dict[str, Fact]:
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
