"""Turns: a few interleaved rounds of several runs, to tell quickly which are slow."""

import math
import random
from collections.abc import Callable, Mapping, Sequence

from ivme.measure.clock import Clock

MIN_VISIT_S = 0.005  # shorter runs are timed several at a time


def take_turns(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Clock,
    *,
    seed: int = 0,
    leader: str | None = None,
    hopeless_ratio: float = math.inf,
) -> dict[str, list[float]]:
    """Return the seconds of a run, one a round for each that is still in.

    Each round visits all, warmed up before, in a new random order. A run that was, in each of two
    rounds, `hopeless_ratio` times as slow as the leader is left out of those that follow.
    """
    source = random.Random(seed)
    calls = {name: _calls(run, clock) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for done in range(1, rounds + 1):
        source.shuffle(names)
        for name in names:
            seconds[name].append(_visit(runs[name], calls[name], clock))
        if leader is not None and done == 2:
            names = [
                name
                for name in names
                if name == leader
                or min(paired_ratios(seconds[name], seconds[leader])) < hopeless_ratio
            ]
            if names == [leader] and len(runs) > 1:
                break
    return seconds


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return time over time of the rounds that both were in."""
    return [one / other for one, other in zip(ours, theirs, strict=False)]


def _calls(run: Callable[[], object], clock: Clock) -> int:
    """Warm up with one run, and return how many a visit makes."""
    start_s = clock.now()
    run()
    took_s = clock.now() - start_s
    return max(1, math.ceil(MIN_VISIT_S / took_s)) if took_s > 0 else 1


def _visit(run: Callable[[], object], calls: int, clock: Clock) -> float:
    clock.rest()
    start_s = clock.now()
    for _ in range(calls):
        run()
    return (clock.now() - start_s) / calls
