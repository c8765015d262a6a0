"""Drawing: the one place that knows which function draws which chart."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from ivme.report.charts.alternatives import alternative
from ivme.report.charts.canvas import Canvas
from ivme.report.charts.curves import draw_curves
from ivme.report.charts.lines import draw_lines, draw_sequence
from ivme.report.charts.rows import draw_bars, draw_forest, draw_strips
from ivme.report.charts.scatter import draw_scatter
from ivme.report.charts.specifications import (
    BarChart,
    Chart,
    CurveChart,
    ForestChart,
    LineChart,
    ScatterChart,
    SequenceChart,
    StackChart,
    StripChart,
)
from ivme.report.charts.stacks import draw_stacks

_DRAWN_BY: dict[type, Callable[[Any], tuple[Canvas, float]]] = {
    BarChart: draw_bars,
    CurveChart: draw_curves,
    ForestChart: draw_forest,
    LineChart: draw_lines,
    ScatterChart: draw_scatter,
    SequenceChart: draw_sequence,
    StackChart: draw_stacks,
    StripChart: draw_strips,
}


def chart_style() -> str:
    """Return the CSS that gives charts their colors, light and dark."""
    return files("ivme.report.charts").joinpath("charts.css").read_text(encoding="utf-8")


def draw(chart: Chart) -> str:
    """Return a chart as SVG for a page that holds `chart_style()`."""
    canvas, height = _DRAWN_BY[type(chart)](chart)
    return canvas.finish(height, alternative(chart))


def draw_standalone(chart: Chart) -> str:
    """Return a chart as an SVG file: with its own style, on its own background."""
    canvas, height = _DRAWN_BY[type(chart)](chart)
    return canvas.finish_file(height, alternative(chart), chart_style())
