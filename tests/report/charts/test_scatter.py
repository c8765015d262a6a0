import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from tune_records import tune_record

from ivme.report.charts.canvas import WIDTH
from ivme.report.charts.drawing import draw
from ivme.report.charts.specifications import ScatterChart, ScatterPoint
from ivme.report.sections.tuning import pareto_chart


def chart_of(*points: ScatterPoint, limit: float | None = None) -> ScatterChart:
    return ScatterChart(
        title="Speed and quality",
        description="",
        x_label="lost",
        y_label="times as fast",
        points=points,
        limit=limit,
    )


def point(label: str, x: float, y: float, size: float = 0.0) -> ScatterPoint:
    return ScatterPoint(label=label, x=x, y=y, size=size, text=f"{label}: {y}", is_front=True)


def elements(chart: ScatterChart, tag: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(draw(chart)).iter() if one.tag.endswith(tag)]


CROWDED = chart_of(*(point(f"variant number {at}", 0.5, 1 + at / 100, 1.0) for at in range(12)))
ALONE = chart_of(point("only one", 0.0, 1.0))


@pytest.mark.parametrize("chart", [pareto_chart(tune_record()), CROWDED, ALONE])
def test_nothing_is_drawn_outside_of_the_chart(chart):
    root = ET.fromstring(draw(chart))
    height = float(root.get("viewBox").split()[3])
    for circle in elements(chart, "circle"):
        x, y, r = (float(circle.get(name)) for name in ("cx", "cy", "r"))
        assert r <= x <= WIDTH - r
        assert r <= y <= height - r


def test_every_point_is_drawn_and_told():
    chart = pareto_chart(tune_record())
    assert len(elements(chart, "circle")) == len(chart.points)
    label = ET.fromstring(draw(chart)).get("aria-label")
    for one in chart.points:
        assert one.text in label


def test_larger_is_more_memory():
    chart = chart_of(point("small", 1, 1, 100.0), point("large", 2, 2, 400.0), point("?", 3, 3))
    radii = [float(circle.get("r")) for circle in elements(chart, "circle")]
    assert radii == [11.0, 5.5, 4.0]


def test_names_never_cover_each_other():
    names = [one for one in elements(CROWDED, "text") if (one.text or "").startswith("variant")]
    heights = sorted(float(one.get("y")) for one in names)
    assert 1 < len(heights) < 12
    assert all(after - before >= 11.9 for before, after in pairwise(heights))


def test_a_limit_far_beyond_all_points_is_left_out():
    near, far = chart_of(point("a", 1, 1), limit=2.0), chart_of(point("a", 1, 1), limit=50.0)
    assert "allowed" in draw(near)
    assert "allowed" not in draw(replace(far, title="far"))
