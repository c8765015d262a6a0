"""Charts of an evaluation: ROC, calibration, and what is found by domain and by length."""

from collections.abc import Mapping
from typing import Any

from ivme.measure.records import Record
from ivme.report.charts.specifications import Bar, BarChart, CurveChart, Point, Series

_LEAST_SHARE = 0.1  # percent of false positives, where the logarithmic axis begins
_GUIDES = (1.0, 5.0)  # percent
_MOST_BARS = 10


def roc_chart(record: Record) -> CurveChart | None:
    """Return the ROC curves of the members and of their combination by probability."""
    drawn = [(name, facts) for name, facts in _curves(record) if len(facts["roc"]) > 1]
    if not drawn:
        return None
    return CurveChart(
        title="ROC",
        description="Left is strict. Marks: what a threshold fitted to these texts would find at "
        "1% and 5% false positives. Broken line: chance.",
        x_label="false positives, percent (logarithmic)",
        y_label="true positives, percent",
        x_range=(_LEAST_SHARE, 100.0),
        y_range=(0.0, 100.0),
        is_x_logarithmic=True,
        has_diagonal=True,
        guides=_GUIDES,
        series=tuple(
            Series(
                name=name,
                group=group,
                points=tuple(Point(x=100 * x, y=100 * y) for x, y in facts["roc"]),
            )
            for group, (name, facts) in enumerate(drawn)
        ),
    )


def reliability_chart(record: Record) -> CurveChart | None:
    """Return what comes true of each probability that the ensemble gives."""
    facts = dict(_curves(record)).get(_combined(record) or "")
    if facts is None or len(facts["reliability"]) < 2:
        return None
    return CurveChart(
        title=f"Calibration of {_combined(record)}",
        description="On the broken line a probability means what it says; whiskers: 95% intervals.",
        x_label="probability given, percent",
        y_label="share that is so, percent",
        x_range=(0.0, 100.0),
        y_range=(0.0, 100.0),
        has_diagonal=True,
        series=(
            Series(
                name="",
                points=tuple(
                    Point(
                        x=100 * one["score"],
                        y=100 * one["share"],
                        interval=(100 * one["low"], 100 * one["high"]),
                    )
                    for one in facts["reliability"]
                ),
            ),
        ),
    )


def domain_charts(record: Record) -> tuple[BarChart, ...]:
    """Return true positives at 1% by domain and by length, as bars."""
    facts = dict(_curves(record)).get(_combined(record) or "")
    if facts is None:
        return ()
    charts = []
    for key, title in (("by_domain", "by domain"), ("by_length", "by number of words")):
        bars = [
            bar for name, figures in facts[key].items() if (bar := _bar(name, figures)) is not None
        ]
        if len(bars) > 1:
            charts.append(
                BarChart(
                    title=f"True positives at 1% false, {title}",
                    description="At the threshold fixed in training; whiskers: 95% intervals."
                    + (f" The {_MOST_BARS} largest." if len(bars) > _MOST_BARS else ""),
                    x_label="percent",
                    bars=tuple(bars[:_MOST_BARS]),
                )
            )
    return tuple(charts)


def _bar(name: str, figures: Mapping[str, Any]) -> Bar | None:
    found = figures.get("tpr_at_0.01")
    if found is None or found["value"] is None:
        return None
    low, high = found["interval"]
    return Bar(
        label=name,
        value=100 * found["value"],
        interval=(100 * low, 100 * high),
        text=f"{100 * found['value']:.0f}%",
    )


def _curves(record: Record) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the members and the combination by probability: votes make no curve to speak of."""
    found = [
        (one.label, one.facts["classification"])
        for one in record.measurements
        if isinstance(one.facts.get("classification"), Mapping)
    ]
    combined = _combined(record)
    return [(name, facts) for name, facts in found if facts["is_member"] or name == combined]


def _combined(record: Record) -> str | None:
    """Return the last combination, which is the one by probability where there is one."""
    names = [
        one.label
        for one in record.measurements
        if not one.facts.get("classification", {"is_member": True})["is_member"]
    ]
    return names[-1] if names else None
