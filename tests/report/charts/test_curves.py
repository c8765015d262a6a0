import re

from ivme.report.charts.curves import draw_curves, value_at
from ivme.report.charts.drawing import draw
from ivme.report.charts.specifications import CurveChart, Point, Series

POINTS = (Point(x=0.0, y=0.0), Point(x=0.0, y=40.0), Point(x=5.0, y=80.0), Point(x=100.0, y=100.0))


def chart(**changes) -> CurveChart:
    settings = {
        "title": "ROC",
        "description": "",
        "x_label": "false positives, percent",
        "y_label": "true positives, percent",
        "x_range": (0.1, 100.0),
        "y_range": (0.0, 100.0),
        "is_x_logarithmic": True,
        "has_diagonal": True,
        "guides": (1.0, 5.0),
        "series": (Series(name="BERT", points=POINTS), Series(name="GLM", points=POINTS, group=1)),
    }
    return CurveChart(**{**settings, **changes})


def test_a_curve_of_steps_has_the_height_of_the_last_point_before():
    assert value_at(POINTS, 1.0) == 40.0
    assert value_at(POINTS, 5.0) == 80.0
    assert value_at(POINTS, 99.0) == 80.0


def test_points_left_of_a_logarithmic_axis_stay_inside():
    svg = draw(chart())
    numbers = [float(x) for path in re.findall(r'points="([^"]+)"', svg) for x in
               re.findall(r"([\d.-]+),", path)]  # fmt: skip
    assert min(numbers) >= 0
    assert max(numbers) <= 340


def test_every_curve_is_marked_at_the_guides():
    svg = draw(chart())
    assert svg.count("<title>BERT</title>") == 3  # the curve, and a mark at each guide
    assert svg.count('class="reference"') == 2


def test_the_words_for_it_say_what_is_reached_at_the_guides():
    assert "BERT (40.0 at 1.00, 80.0 at 5.00)" in draw(chart())
    assert "BERT (0 at 0, 40.0 at 0, 80.0 at 5.00, 100 at 100)" in draw(chart(guides=()))


def test_points_with_intervals_have_marks_and_whiskers():
    points = (Point(x=10.0, y=12.0, interval=(8.0, 20.0)), Point(x=90.0, y=80.0))
    canvas, height = draw_curves(
        chart(series=(Series(name="", points=points),), guides=(), has_diagonal=False)
    )
    svg = canvas.finish(height, "calibration")
    assert svg.count('class="whisker c1"') == 1
    assert height > 200
