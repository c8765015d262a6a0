"""Wording: claims, figures and verdicts as short texts, for the terminal and the page alike."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ivme.report.formatting import (
    format_bytes,
    format_count,
    format_number,
    format_ratio,
    format_seconds,
)

Facts = Mapping[str, Any]
USUAL_MARGIN = 0.1
_TRAILING_ZEROS = re.compile(r"\.0+(?!\d)|(?<=\.\d)0+(?!\d)")  # claims are round figures


def _percent(value: float, interval: tuple[float, float] | None = None) -> str:
    half = (interval[1] - interval[0]) / 2 if interval else None
    text = format_number(value, half)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def _ratio(value: float, interval: tuple[float, float] | None = None) -> str:
    text = format_ratio(value, interval)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}×"  # noqa: RUF001 - times


def _bytes(value: float, interval: tuple[float, float] | None = None) -> str:
    return format_bytes(value)


def _count(value: float, interval: tuple[float, float] | None = None) -> str:
    return f"{value:,.0f}" if value < 1e7 else format_count(value)


FORMATS: dict[str, Callable[..., str]] = {
    "ratio": _ratio,
    "percent": _percent,
    "seconds": format_seconds,
    "bytes": _bytes,
    "count": _count,
}


def claimed_text(claimed: Facts) -> str:
    """Return what was claimed, as in "2-3×", "about 82 s" or "at most 0.1 ms"."""
    if claimed["words"]:
        return str(claimed["words"])

    def show(value: float) -> str:
        return _TRAILING_ZEROS.sub("", FORMATS[claimed["kind"]](value))

    within = _within(claimed["margin"])
    if claimed["direction"] == "at most":
        return f"at most {show(claimed['high'])}{within}"
    if claimed["low"] == claimed["high"]:
        return f"{'about ' if claimed['margin'] else ''}{show(claimed['low'])}{within}"
    return f"{show(claimed['low'])} to {show(claimed['high'])}{within}"


def _within(margin: float) -> str:
    """Return by how much a claim may be missed, where that is not the usual tenth."""
    if margin in (0.0, USUAL_MARGIN):
        return ""
    return f", within a factor of {1 + margin:g}" if margin >= 1 else f", within {100 * margin:g}%"


def measured_text(facts: Facts) -> str:
    """Return what was measured with its interval, and what a ratio or saving is of."""
    measured, unit = facts.get("measured"), facts["claimed"]["kind"]
    if measured is None:
        return ""
    show = FORMATS[unit]
    interval = (measured["low"], measured["high"])
    text = show(measured["value"], interval)
    if interval[0] != interval[1]:
        count = measured.get("range_of")
        kind = f", range of {count}" if count else ""
        text += f" ({show(interval[0], interval)} to {show(interval[1], interval)}{kind})"
    if measured["unit"] is not None:
        before, after = (FORMATS[measured["unit"]](measured[end]) for end in ("before", "after"))
        text += f"; {before} against {after}"
    return f"{text}; {measured['note']}" if measured["note"] else text


def verdict_text(failure: str | None, facts: Facts) -> str:
    """Return the verdict, and why where it is none."""
    if failure is not None:
        return f"failed: {failure}"
    if "reason" in facts:
        return f"{facts['verdict']}: {facts['reason']}"
    return f"{facts['verdict']}{' (close)' if facts['is_close'] else ''}"
