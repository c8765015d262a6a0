"""The schedule: when each request is due, fixed before the first is sent."""

import random
from array import array
from collections.abc import Iterator

from ivme.serve.loadtest.configuration import LoadConfig

ROUNDING_S = 1e-9  # of sums of seconds


def due_moments(config: LoadConfig) -> "array[float]":
    """Return when requests are due, in seconds; those of the warm-up are below 0."""
    moments: array[float] = array("d")
    end = config.warm_up_s + config.duration_s - ROUNDING_S
    for offset in _OFFSETS[config.schedule](config):
        if offset >= end:
            return moments
        moments.append(offset - config.warm_up_s)
    return moments


def _constant_offsets(config: LoadConfig) -> Iterator[float]:
    assert config.rate_per_s is not None
    count = 0
    while True:
        yield count / config.rate_per_s
        count += 1


def _poisson_offsets(config: LoadConfig) -> Iterator[float]:
    """Yield the moments of independent users: exponential gaps."""
    assert config.rate_per_s is not None
    source, offset = random.Random(config.seed), 0.0
    while True:
        offset += source.expovariate(config.rate_per_s)
        yield offset


_OFFSETS = {"constant": _constant_offsets, "poisson": _poisson_offsets}
