"""Curve charts: one figure against another in fixed ranges, as of ROC and calibration."""

from collections.abc import Sequence

from ivme.report.charts.canvas import SMALL_SIZE, WIDTH, Canvas, text_width
from ivme.report.charts.lines import SERIES_COLORS, draw_legend
from ivme.report.charts.scales import Scale, tick_label
from ivme.report.charts.specifications import CurveChart, Point, Series
from ivme.report.formatting import format_number

_LEFT, _RIGHT = 44.0, WIDTH - 12.0
_PLOT_HEIGHT = 230.0
_DIAGONAL_POINTS = 60  # it is bent where the axis is logarithmic


def draw_curves(chart: CurveChart) -> tuple[Canvas, float]:
    """Return the canvas of a curve chart, and its height."""
    canvas = Canvas()
    top = draw_legend(canvas, chart.series) + 26
    bottom = top + _PLOT_HEIGHT
    low, high = chart.x_range
    x_scale = Scale(
        low=low, high=high, start=_LEFT, end=_RIGHT, is_logarithmic=chart.is_x_logarithmic
    )
    y_scale = Scale(low=chart.y_range[0], high=chart.y_range[1], start=bottom, end=top)
    _draw_axes(canvas, chart, x_scale, y_scale)
    for guide in chart.guides:
        canvas.line("reference", x_scale(guide), top, x_scale(guide), bottom)
    if chart.has_diagonal:
        _draw_diagonal(canvas, x_scale, y_scale)
    for series in chart.series:
        _draw_series(canvas, series, x_scale, y_scale)
        for guide in chart.guides:  # so that color is not the only sign
            height = y_scale(value_at(series.points, guide))
            color = f"mark c{series.group % SERIES_COLORS + 1}"
            canvas.marker(series.group, color, x_scale(guide), height, series.name)
    return canvas, bottom + 44


def value_at(points: Sequence[Point], x: float) -> float:
    """Return y of a curve of steps at x: of the last point that is not beyond it."""
    return [points[0], *(point for point in points if point.x <= x)][-1].y


def _draw_axes(canvas: Canvas, chart: CurveChart, x_scale: Scale, y_scale: Scale) -> None:
    top, bottom = y_scale.end, y_scale.start
    canvas.text(0, top - 12, chart.y_label, css="axis")
    ticks = y_scale.ticks()
    for tick in ticks:
        canvas.line("grid", _LEFT, y_scale(tick), _RIGHT, y_scale(tick))
        text = tick_label(tick, ticks)
        canvas.text(_LEFT - 6, y_scale(tick) + 4, text, css="tick", anchor="end")
    canvas.line("base", _LEFT, bottom, _RIGHT, bottom)
    ticks = x_scale.ticks()
    for tick in ticks:
        text = tick_label(tick, ticks)
        middle = min(x_scale(tick), WIDTH - text_width(text, SMALL_SIZE) / 2)
        canvas.text(middle, bottom + 16, text, css="tick", anchor="middle")
    canvas.text((_LEFT + _RIGHT) / 2, bottom + 34, chart.x_label, css="axis", anchor="middle")


def _draw_diagonal(canvas: Canvas, x_scale: Scale, y_scale: Scale) -> None:
    steps = [step / _DIAGONAL_POINTS for step in range(_DIAGONAL_POINTS + 1)]
    low, high = x_scale.low, x_scale.high
    if x_scale.is_logarithmic:
        values = [low * (high / low) ** step for step in steps]
    else:
        values = [low + (high - low) * step for step in steps]
    path = " ".join(f"{x_scale(value):.1f},{y_scale(value):.1f}" for value in values)
    canvas.add("polyline", "curve control", points=path)


def _draw_series(canvas: Canvas, series: Series, x_scale: Scale, y_scale: Scale) -> None:
    color = f"c{series.group % SERIES_COLORS + 1}"
    path = " ".join(f"{x_scale(p.x):.1f},{y_scale(p.y):.1f}" for p in series.points)
    canvas.add("polyline", f"curve {color}", series.name, points=path)
    for point in series.points:
        if point.interval is None:
            continue
        x = x_scale(point.x)
        low, high = (y_scale(bound) for bound in point.interval)
        canvas.line(f"whisker {color}", x, low, x, high)
        title = f"{series.name} {format_number(point.x)}: {format_number(point.y)}".strip()
        canvas.marker(series.group, f"mark {color}", x, y_scale(point.y), title)
