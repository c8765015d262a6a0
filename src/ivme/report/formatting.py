"""Formatting: SI values become text here and nowhere else.

A figure shows the digits that its interval supports: with an interval, the last digit is the
first that the interval leaves in doubt; without one, three significant digits.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MISSING = "–"  # noqa: RUF001 - the dash that tables use for no figure
_DIGITS_WITHOUT_INTERVAL = 3
_MOST_DIGITS = 4
_MOST_RATIO_DECIMALS = 5


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit to show values in: shown value = SI value / factor."""

    symbol: str
    factor: float


def _ladder(*steps: tuple[str, float]) -> tuple[Unit, ...]:
    return tuple(Unit(symbol=symbol, factor=factor) for symbol, factor in steps)


SECONDS = _ladder(("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))
BYTES = _ladder(("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))
_PREFIXED_RATES = ("FLOP/s", "OP/s", "B/s")  # other rates are counts, and read better unprefixed


def rate_units(unit: str) -> tuple[Unit, ...]:
    """Return the units that a rate is shown in: prefixed for FLOP/s and B/s, else itself."""
    if unit not in _PREFIXED_RATES:
        return _ladder((unit, 1.0))
    prefixes = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
    return _ladder(*((prefix + unit, factor) for prefix, factor in prefixes))


def choose_unit(values: Iterable[float | None], units: tuple[Unit, ...]) -> Unit:
    """Return the unit in which the middle one of the values has one to three whole digits."""
    sizes = sorted(abs(value) for value in values if value and math.isfinite(value))
    if not sizes:
        return units[0] if units[0].factor == 1.0 else units[-1]
    middle = sizes[len(sizes) // 2] * (1 + 1e-9)
    fitting = [unit for unit in units if unit.factor <= middle]
    return fitting[-1] if fitting else units[0]


def format_number(value: float | None, half_width: float | None = None) -> str:
    """Return the value with honest digits; `half_width` is half its interval, in the same unit."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.{_decimals(value, half_width)}f}"


def _decimals(value: float, half_width: float | None) -> int:
    """Return the digits after the point that the value deserves."""
    if value == 0:
        return 0
    magnitude = math.floor(math.log10(abs(value)) + 1e-9)
    digits = _DIGITS_WITHOUT_INTERVAL
    if half_width is not None and math.isfinite(half_width) and half_width > 0:
        digits = magnitude - math.floor(math.log10(half_width)) + 1
    return max(0, max(1, min(_MOST_DIGITS, digits)) - 1 - magnitude)


def format_in(value: float | None, unit: Unit, interval: tuple[float, float] | None = None) -> str:
    """Return an SI value as a number in the unit, without its symbol; for columns and axes."""
    if value is None:
        return MISSING
    half = (interval[1] - interval[0]) / 2 / unit.factor if interval else None
    return format_number(value / unit.factor, half)


def _with_symbol(
    value: float | None, units: tuple[Unit, ...], interval: tuple[float, float] | None
) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    unit = choose_unit([value], units)
    return f"{format_in(value, unit, interval)} {unit.symbol}"


def format_seconds(seconds: float | None, interval: tuple[float, float] | None = None) -> str:
    """Return a time, as in "12.3 ms"."""
    if seconds is not None and math.isfinite(seconds) and seconds >= 600:
        return f"{format_number(seconds / 60)} min"
    return _with_symbol(seconds, SECONDS, interval)


def format_bytes(count: float | None) -> str:
    """Return an amount of memory in powers of ten, as in "1.23 GB"."""
    return _with_symbol(count, BYTES, None)


def format_rate(rate: float | None, unit: str, interval: tuple[float, float] | None = None) -> str:
    """Return a rate, as in "210 GFLOP/s", "42.1 GB/s" or "1,234 tokens/s"."""
    return _with_symbol(rate, rate_units(unit), interval)


def format_ratio(ratio: float | None, interval: tuple[float, float] | None = None) -> str:
    """Return a ratio, as in "1.08"; digits go on until a ratio that is not 1 does not look it."""
    if ratio is None or not math.isfinite(ratio):
        return MISSING
    half = (interval[1] - interval[0]) / 2 if interval else None
    decimals = max(_decimals(ratio, half), _decimals(ratio, None))
    while round(ratio, decimals) == 1 != ratio and decimals < _MOST_RATIO_DECIMALS:
        decimals += 1
    return f"{ratio:,.{decimals}f}"


def format_percent(fraction: float | None) -> str:
    """Return a share as percent, as in "45%", with a decimal below ten."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    percent = 100 * fraction
    return f"{percent:.1f}".removesuffix(".0") + "%" if abs(percent) < 9.95 else f"{percent:,.0f}%"


def format_interval(
    interval: tuple[float, float] | None, format_one: Callable[..., str] = format_ratio
) -> str:
    """Return both bounds with the digits that the interval supports, as in "1.05–1.11"."""
    if interval is None:
        return MISSING
    low, high = (format_one(bound, interval) for bound in interval)
    number, _, symbol = low.rpartition(" ")
    is_shared = bool(number) and high.endswith(" " + symbol)
    return f"{number if is_shared else low}–{high}"  # noqa: RUF001 - the dash of ranges


def format_count(count: float | None) -> str:
    """Return a count, as in "110 M" or "4,386"."""
    if count is None or not math.isfinite(count):
        return MISSING
    if abs(count) < 100_000:
        return f"{count:,.0f}"
    units = _ladder(("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
    return _with_symbol(count, units, None)
