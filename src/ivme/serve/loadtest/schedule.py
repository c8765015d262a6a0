"""The schedule: when each request is due, fixed before the first is sent."""

import random
from array import array
from collections.abc import Iterator

from ivme.serve.loadtest.configuration import LoadConfig


def due_moments(config: LoadConfig) -> "array[float]":
    """Return when requests are due, in seconds; those of the warm-up are below 0."""
    moments: array[float] = array("d")
    for offset in _OFFSETS[config.schedule](config):
        if offset >= config.warm_up_s + config.duration_s:
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
