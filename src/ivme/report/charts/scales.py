"""Scales: data values to positions, and the ticks that an axis shows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ivme.report.formatting import format_number

_LOGARITHMIC_FROM = 8.0  # largest over smallest: above this a linear axis hides the small values


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A map from [low, high] of the data to [start, end] of the drawing."""

    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value, held inside the drawing."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values inside the scale."""
        if not self.is_logarithmic or self.high / self.low < 4:
            return linear_ticks(self.low, self.high, count)
        return logarithmic_ticks(self.low, self.high, count)


def spread_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """Return a scale for amounts: linear from zero, or logarithmic when they differ widely."""
    amounts = [value for value in values if math.isfinite(value)]
    low, high = min(amounts), max(amounts)
    if low > 0 and high / low > _LOGARITHMIC_FROM:
        return Scale(low=low / 1.25, high=high * 1.15, start=start, end=end, is_logarithmic=True)
    return Scale(low=0.0, high=high * 1.08 or 1.0, start=start, end=end)


def ratio_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a logarithmic scale around 1 that holds all the values, with a little room."""
    logs = [abs(math.log(value)) for value in values if value > 0 and math.isfinite(value)]
    lows = [value for value in values if 0 < value < 1]
    highs = [value for value in values if 1 < value < math.inf]
    room = 1 + 0.06 * (math.exp(max(logs, default=0.0)) - 1) + 0.002
    low, high = min([1.0, *lows]) / room, max([1.0, *highs]) * room
    return Scale(low=low, high=high, start=start, end=end, is_logarithmic=True)


def near_scale(values: Sequence[float], reference: float, start: float, end: float) -> Scale:
    """Return a logarithmic scale of the values, and of the reference where it is not far off."""
    low, high = min(values), max(values)
    if low / 1.5 <= reference <= high * 1.5:
        low, high = min(low, reference), max(high, reference)
    room = (high / low) ** 0.08 * 1.002
    return Scale(low=low / room, high=high * room, start=start, end=end, is_logarithmic=True)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Return round values at an even step of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def logarithmic_ticks(low: float, high: float, count: int) -> list[float]:
    """Return powers of ten, with 2 and 5 between them as long as there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= count + 2:
            break
    return inside


def tick_label(value: float, ticks: list[float]) -> str:
    """Return the text of a tick, with as many digits as tell it from its neighbors."""
    if value == 0:
        return "0"
    gap = min((after - before for before, after in pairwise(ticks)), default=abs(value))
    is_even = len(ticks) > 2 and math.isclose(ticks[-1] - ticks[-2], ticks[1] - ticks[0])
    step = gap if is_even else abs(value)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}" if abs(value) < 1e6 else format_number(value)
