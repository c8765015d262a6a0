"""A simulated machine with the noise of a shared one, to test comparisons in milliseconds.

The time that a call takes is its true time, multiplied by what such machines do: a slow drift
(temperature, neighbors), autocorrelated wander, jitter of its own, sudden changes of regime (clock
frequency, a neighbor that comes or goes) and rare spikes (interrupts, page faults). All but
jitter and spikes are shared by calls that run close to each other.
"""

import dataclasses
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from ivme.measure.compare import ComparePlan, compare
from ivme.measure.records import Comparison


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much a simulated machine varies; all amounts are of log time."""

    drift: float = 0.3  # largest change over a period, of a sine with a random phase
    drift_period_calls: float = 500
    wander: float = 0.05  # standard deviation of an AR(1) process
    wander_calls: float = 20  # its correlation length
    jitter: float = 0.03  # standard deviation, independent from call to call
    regime: float = 0.1  # standard deviation of the level that a change of regime jumps to
    regime_calls: float = 150  # calls between changes of regime, on average
    spike_probability: float = 0.03
    spike: float = 0.5  # mean height of a spike, exponential


class NoisyClock:
    """A clock that only moves when simulated work runs; the same seed gives the same times."""

    def __init__(self, seed: int, noise: Noise | None = None) -> None:
        self._noise = noise or Noise()
        self._random = random.Random(seed)
        self._now_s = 0.0
        self._calls = 0
        self._phase = self._random.uniform(0, 2 * math.pi)
        self._wander = self._random.gauss(0, self._noise.wander)
        self._regime = 0.0

    def rest(self) -> None:
        """Nothing spins here."""

    def now(self) -> float:
        return self._now_s

    def time(self, run: Callable[[], object]) -> float:
        start_s = self._now_s
        run()
        return self._now_s - start_s

    def work(self, seconds: float) -> Callable[[], None]:
        """Return a callable that takes about so many seconds of this clock."""

        def run() -> None:
            self._now_s += seconds * math.exp(self._next_log_noise())

        return run

    def _next_log_noise(self) -> float:
        noise, draw = self._noise, self._random
        self._calls += 1
        persistence = math.exp(-1 / noise.wander_calls)
        innovation = noise.wander * math.sqrt(1 - persistence**2)
        self._wander = persistence * self._wander + draw.gauss(0, innovation)
        if draw.random() < 1 / noise.regime_calls:
            self._regime = draw.gauss(0, noise.regime)
        angle = 2 * math.pi * self._calls / noise.drift_period_calls + self._phase
        spike = draw.random() < noise.spike_probability
        return (
            noise.drift / 2 * math.sin(angle)
            + self._wander
            + self._regime
            + draw.gauss(0, noise.jitter)
            + (draw.expovariate(1 / noise.spike) if spike else 0.0)
        )


def simulated_comparison(
    seed: int, ratio: float, noise: Noise | None = None, plan: ComparePlan | None = None
) -> Comparison:
    """Return what `compare` says of two variants whose true times are 1 : ratio."""
    clock = NoisyClock(seed, noise)
    variants = {"baseline": clock.work(0.01), "variant": clock.work(0.01 * ratio)}
    plan = dataclasses.replace(plan or ComparePlan(), seed=seed)
    return compare(variants, clock=clock, plan=plan)[0]
