"""Readers: how the figure of a claim is found in the JSON record of a command.

One reader for each kind of record that the project's commands write. A claim names its reader and
gives the rest of its `figure` table as arguments.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ivme.errors import IvmeError
from ivme.evidence.figure import Figure

Content = Mapping[str, Any]
# Of how many samples the range holds the median in 95 of 100 cases: 1 - 2^(1 - 6) = 97%.
FEWEST_SAMPLES = 6
ONE_SAMPLE = "one sample: nothing is known of its scatter"


def read_figure(content: Content, figure: Mapping[str, Any]) -> Figure:
    """Return the figure that a claim's `figure` table describes.

    Raises IvmeError if the record does not hold it.
    """
    arguments = {name: value for name, value in figure.items() if name != "reader"}
    try:
        return READERS[figure["reader"]](content, **arguments)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise IvmeError(
            f"the record does not hold the figure {dict(figure)}: {type(error).__name__} {error}"
        ) from error


def read_fact(content: Content, *, name: str) -> Figure:
    """Return a figure of `benchmarks/claims.py` that is no comparison."""
    facts = _measurement(content, name)["facts"]
    value, low, high = (facts[end] for end in ("value", "low", "high"))
    return _scattered(Figure(value=value, low=low, high=high, note=facts["note"]), facts["samples"])


def read_comparison(content: Content, *, baseline: str, variant: str, gives: str) -> Figure:
    """Return a paired comparison of a record; gives: one of GIVES."""
    return _figure_of(_comparison(content["comparisons"], baseline, variant), gives)


def read_row(content: Content, *, row: str, baseline: str, variant: str, gives: str) -> Figure:
    """Return a row of `benchmarks/ensemble_optimisations.py`."""
    return _figure_of(_comparison(_row(content, row), baseline, variant), gives)


def read_row_seconds(content: Content, *, parts: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the seconds of ways of `ensemble_optimisations.py`, summed.

    parts: each {"row": name, "way": name, "times": 1}; -1 takes one away.
    """
    figures = [_seconds(_row(content, one["row"]), one["way"]) for one in parts]
    notes = [one.note for one in figures if one.note is not None]
    times = [float(one.get("times", 1)) for one in parts]
    pairs = list(zip(times, figures, strict=True))
    value = sum(n * one.value for n, one in pairs)
    low = sum(n * (one.low if n > 0 else one.high) for n, one in pairs)
    high = sum(n * (one.high if n > 0 else one.low) for n, one in pairs)
    return Figure(value=value, low=low, high=high, note=notes[0] if notes else None)


def read_finding(content: Content, *, name: str, gives: str) -> Figure:
    """Return a finding of `train_uboo_test` whose name begins with `name`."""
    findings = _measurement(content, "uboo against baseline")["facts"]["findings"]
    one = next((one for one in findings if one["name"].startswith(name)), None)
    if one is None:
        raise KeyError(name)
    low, high = one["interval"]
    figure = _of_ratio(one["ratio"], low, high, gives)
    figure = _scattered(figure, content["settings"]["seeds"])
    return replace(figure, before=one["baseline"], after=one["uboo"])


def read_memory(content: Content, *, before: str, after: str) -> Figure:
    """Return how many percent less memory one measurement of a record took than another."""
    sizes = [_measurement(content, label)["peak_memory_bytes"] for label in (before, after)]
    saved = 100 * (1 - sizes[1] / sizes[0])
    figure = Figure(value=saved, low=saved, high=saved, unit="bytes")
    return _scattered(replace(figure, before=sizes[0], after=sizes[1]), 1)


READERS: dict[str, Callable[..., Figure]] = {
    "fact": read_fact,
    "comparison": read_comparison,
    "row": read_row,
    "row seconds": read_row_seconds,
    "finding": read_finding,
    "memory": read_memory,
}


def _measurement(content: Content, label: str) -> Mapping[str, Any]:
    found = [one for one in content["measurements"] if one["label"] == label]
    if not found:
        raise KeyError(label)
    measurement: Mapping[str, Any] = found[0]
    return measurement


def _row(content: Content, name: str) -> Sequence[Mapping[str, Any]]:
    row = next((one for one in content["rows"] if one["name"] == name), None)
    if row is None or row["skipped"]:
        raise KeyError(f"{name}: {row['skipped'] if row else 'no such row'}")
    comparisons: Sequence[Mapping[str, Any]] = row["comparisons"]
    return comparisons


def _comparison(
    comparisons: Sequence[Mapping[str, Any]], baseline: str, variant: str
) -> Mapping[str, Any]:
    """Return the comparison of two ways of one run, judged anew if both were held to a third.

    Whether the machine was quiet is what the control of the third said.
    """
    from ivme.measure.records import Comparison
    from ivme.measure.verdict import CONTROL, ComparePlan, judge

    for one in comparisons:
        if (one["baseline"], one["variant"]) == (baseline, variant):
            return one
    beside: dict[str, Mapping[str, Any]] = {}
    for one in comparisons:
        beside |= dict.fromkeys((one["baseline"], one["variant"]), one)
    sources = (beside[baseline], beside[variant])
    blocks = [
        {
            "seconds": {
                name: seconds
                for block in pair
                for name, seconds in block["seconds"].items()
                if name != CONTROL
            }
        }
        for pair in zip(*(one["blocks"] for one in sources), strict=True)
    ]
    looks = len(ComparePlan().looks)
    judged: Comparison = judge(blocks, baseline, variant, looks=looks)
    is_clean = all(one.get("control_is_clean") is not False for one in sources)
    return {**vars(judged), "control_is_clean": is_clean}


def _figure_of(comparison: Mapping[str, Any], gives: str) -> Figure:
    from ivme.measure.statistics import hierarchical_interval, median

    seconds = [
        [block["seconds"][comparison[role]] for block in comparison["blocks"]]
        for role in ("baseline", "variant")
    ]
    before_s, after_s = (median([s for block in blocks for s in block]) for blocks in seconds)
    if gives == "seconds saved":
        pairs = zip(*seconds, strict=True)
        saved = [[b - a for b, a in zip(*pair, strict=True)] for pair in pairs]
        low, high = hierarchical_interval(saved)
        value = median([median(block) for block in saved])
        figure = Figure(value=value, low=low, high=high)
    else:
        low, high = comparison["interval"]
        figure = _of_ratio(comparison["ratio"], low, high, gives)
    note = doubt_of(comparison)
    return replace(figure, before=before_s, after=after_s, unit="seconds", note=note)


def doubt_of(comparison: Mapping[str, Any]) -> str | None:
    """Return why a comparison is not to be trusted, None if it is."""
    from ivme.measure.verdict import ComparePlan, blocks_needed

    if comparison.get("control_is_clean") is False:
        return "the A/A control differed from itself: the machine was not quiet"
    count, needed = len(comparison["blocks"]), blocks_needed(len(ComparePlan().looks))
    if count < needed:
        return f"too few blocks for a verdict, {count} of {needed}: raise the command's --budget"
    return None


def _scattered(figure: Figure, samples: int) -> Figure:
    """Return the figure with what its number of samples makes of its interval; 0: counted."""
    if samples == 0:
        return replace(figure, is_counted=True)
    if samples == 1:
        return replace(figure, note=figure.note or ONE_SAMPLE)
    return replace(figure, range_of=samples) if samples < FEWEST_SAMPLES else figure


def _of_ratio(ratio: float, low: float, high: float, gives: str) -> Figure:
    """Return what a ratio of after to before gives; each is turned so that more is better."""
    turn = GIVES[gives]
    ends = sorted((turn(low), turn(high)))
    if not all(map(math.isfinite, ends)):
        raise ValueError(f"a ratio of {ratio} ({low} to {high})")
    return Figure(value=turn(ratio), low=ends[0], high=ends[1])


GIVES: dict[str, Callable[[float], float]] = {
    "times as fast": lambda ratio: 1 / ratio,
    "time": lambda ratio: ratio,
    "percent saved": lambda ratio: 100 * (1 - ratio),
    "percent more": lambda ratio: 100 * (ratio - 1),
}


def _seconds(comparisons: Sequence[Mapping[str, Any]], way: str) -> Figure:
    from ivme.measure.statistics import hierarchical_interval, median

    one = next((c for c in comparisons if way in (c["baseline"], c["variant"])), None)
    if one is None:
        raise KeyError(way)
    blocks = [block["seconds"][way] for block in one["blocks"]]
    low, high = hierarchical_interval(blocks)
    value = median([s for block in blocks for s in block])
    return Figure(value=value, low=low, high=high, note=doubt_of(one))
