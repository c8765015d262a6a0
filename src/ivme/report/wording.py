"""Wording: what a comparison found, in one sentence that says no more than the interval does."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ivme.measure.records import Comparison
from ivme.report.formatting import format_interval, format_percent, format_ratio

_SEPARATOR = " · "  # between the parts of a label


def speedup(comparison: Comparison) -> float:
    """Return how many times as fast as the baseline the variant is."""
    return 1 / comparison.ratio


def speedup_interval(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of the speedup from the interval of the ratio of times."""
    return 1 / interval[1], 1 / interval[0]


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a comparison is of: "transformers" and "pipeline", at "batch 8 · 128 tokens"."""

    variant: str
    baseline: str
    point: str  # what both labels end in; empty if nothing


def names_of(comparison: Comparison) -> Names:
    """Return the names of variant and baseline, and apart from them what they share."""
    variant, baseline = (one.split(_SEPARATOR) for one in (comparison.variant, comparison.baseline))
    shared: list[str] = []
    while min(len(variant), len(baseline)) > 1 and variant[-1] == baseline[-1]:
        shared.insert(0, variant.pop())
        baseline.pop()
    return Names(
        variant=_SEPARATOR.join(variant),
        baseline=_SEPARATOR.join(baseline),
        point=_SEPARATOR.join(shared),
    )


def comparison_sentence(comparison: Comparison) -> str:
    """Return the finding, as in "a is 1.08 times faster than b (95% interval 1.05–1.11)"."""
    names = names_of(comparison)
    variant, baseline = names.variant, names.baseline
    if names.point:
        baseline += f" at {names.point}"
    margin = format_percent(comparison.equivalence_margin)
    if comparison.verdict in ("faster", "slower"):
        return (
            f"{variant} is {times_text(comparison)} times {comparison.verdict} than {baseline} "
            + (f"(95% interval {interval_text(comparison)}); verdict: {comparison.verdict}.")
        )
    finding = f"{ratio_text(comparison)} times as fast (95% interval {interval_text(comparison)})"
    if comparison.verdict == "same":
        return (
            f"{variant} is as fast as {baseline}: {finding}, inside the margin of {margin}; "
            "verdict: same."
        )
    return f"{variant} against {baseline}: {finding}; {_why_undecided(comparison, margin)}."


def _why_undecided(comparison: Comparison, margin: str) -> str:
    """Return why there is no verdict; an interval that leaves out 1 needs another reason."""
    verdict = f"verdict: {comparison.verdict}"
    if comparison.control_is_clean is False:
        return f"{verdict}, because the A/A control is not clean"
    low, high = comparison.interval
    if low <= 1 <= high:
        return f"{verdict}, a difference of {margin} is neither shown nor ruled out: measure longer"
    return f"{verdict}, for the reason noted below"


def ratio_text(comparison: Comparison) -> str:
    """Return the speedup with the digits that its interval supports."""
    return format_ratio(speedup(comparison), speedup_interval(comparison.interval))


def times_text(comparison: Comparison) -> str:
    """Return how many times faster, or slower if that is the verdict, the variant is."""
    if comparison.verdict == "slower":
        return format_ratio(comparison.ratio, comparison.interval)
    return ratio_text(comparison)


def interval_text(comparison: Comparison) -> str:
    """Return the interval of `times_text`."""
    if comparison.verdict == "slower":
        return format_interval(comparison.interval)
    return format_interval(speedup_interval(comparison.interval))


def control_sentence(comparison: Comparison) -> str | None:
    """Return what the A/A control found, or None where none ran."""
    if comparison.control_interval is None or comparison.control_is_clean is None:
        return None
    bounds = format_interval(comparison.control_interval)
    if comparison.control_is_clean:
        return f"The A/A control ({comparison.baseline} against itself) is clean: {bounds}."
    return (
        f"The A/A control ({comparison.baseline} against itself) shows a difference where there is "
        f"none: {bounds}. The machine was not steady; do not rely on this comparison."
    )


def date_text(created_at: str) -> str:
    """Return an ISO 8601 time as in "20 November 2026, 08:49 UTC"."""
    try:
        moment = datetime.fromisoformat(created_at).astimezone(UTC)
    except ValueError:
        return created_at
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
