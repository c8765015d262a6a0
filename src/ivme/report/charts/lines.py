"""Line charts and sequences: a figure against a setting, or over the course of a run."""

import math

from ivme.report.charts.canvas import LABEL_SIZE, SMALL_SIZE, WIDTH, Canvas, shorten, text_width
from ivme.report.charts.scales import Scale, linear_ticks, near_scale, spread_scale, tick_label
from ivme.report.charts.specifications import LineChart, Point, SequenceChart, Series
from ivme.report.formatting import format_number

_LEFT, _RIGHT = 44.0, WIDTH - 12.0
_PLOT_HEIGHT = 168.0
_LEGEND_ROW = 19.0
SERIES_COLORS = 6


def draw_lines(chart: LineChart) -> tuple[Canvas, float]:
    """Return the canvas of a line chart, and its height."""
    canvas = Canvas()
    top = draw_legend(canvas, chart.series) + 26
    points = [point for series in chart.series for point in series.points]
    y_scale = spread_scale(_extremes(points), top + _PLOT_HEIGHT, top)
    x_scale = _setting_scale([point.x for point in points])
    _draw_y_axis(canvas, y_scale, chart.y_label, top)
    _draw_settings(canvas, x_scale, sorted({point.x for point in points}), top, chart.x_label)
    for series in chart.series:
        _draw_series(canvas, series, x_scale, y_scale)
    return canvas, top + _PLOT_HEIGHT + 44


def draw_sequence(chart: SequenceChart) -> tuple[Canvas, float]:
    """Return the canvas of a sequence chart, and its height."""
    canvas, top = Canvas(), 26.0
    bottom, count = top + _PLOT_HEIGHT * 0.75, len(chart.values)
    y_scale = near_scale([*chart.values, *chart.interval], chart.reference, bottom, top)
    x_scale = Scale(low=1.0, high=max(2.0, float(count)), start=_LEFT + 6, end=_RIGHT - 6)
    low, high = (y_scale(bound) for bound in chart.interval)
    canvas.add("rect", "band", x=_LEFT, y=high, width=_RIGHT - _LEFT, height=max(low - high, 1.0))
    _draw_y_axis(canvas, y_scale, chart.y_label, top)
    if y_scale.low <= chart.reference <= y_scale.high:
        level = y_scale(chart.reference)
        canvas.line("reference", _LEFT, level, _RIGHT, level)
    for order, value in enumerate(chart.values, start=1):
        title = f"block {order}: {format_number(value)}"
        canvas.add("circle", "dot c1", title, cx=x_scale(order), cy=y_scale(value), r=2.8)
    for tick in linear_ticks(1.0, float(max(2, count)), 6):
        if tick >= 1 and tick == int(tick):
            label = f"{tick:,.0f}"
            canvas.text(x_scale(tick), bottom + 16, label, css="tick", anchor="middle")
    canvas.text((_LEFT + _RIGHT) / 2, bottom + 34, chart.x_label, css="axis", anchor="middle")
    return canvas, bottom + 42


def _extremes(points: list[Point]) -> list[float]:
    bounds = [bound for point in points for bound in (point.interval or ())]
    return [point.y for point in points] + bounds


def _setting_scale(settings: list[float]) -> Scale:
    """Return the scale of a setting: doubling is one step, so logarithmic when all are positive."""
    low, high = min(settings), max(settings)
    start, end = _LEFT + 14, _RIGHT - 14
    return Scale(low=low, high=high, start=start, end=end, is_logarithmic=low > 0)


def draw_legend(canvas: Canvas, series: tuple[Series, ...]) -> float:
    """Draw the names of the series in wrapping rows; return where they end."""
    if len(series) == 1 and not series[0].name:
        return 0.0
    x, y = 6.0, 10.0
    for one in series:
        name = shorten(one.name, WIDTH - 30, LABEL_SIZE)
        width = text_width(name, LABEL_SIZE) + 30
        if x > 6 and x + width > WIDTH:
            x, y = 6.0, y + _LEGEND_ROW
        canvas.marker(one.group, f"mark c{one.group % SERIES_COLORS + 1}", x, y - 4)
        canvas.text(x + 9, y, name, css="label")
        x += width
    return y + 8


def _draw_y_axis(canvas: Canvas, scale: Scale, label: str, top: float) -> None:
    ticks = scale.ticks()
    canvas.text(0, top - 12, label, css="axis")
    for tick in ticks:
        canvas.line("grid", _LEFT, scale(tick), _RIGHT, scale(tick))
        text = tick_label(tick, ticks)
        canvas.text(_LEFT - 6, scale(tick) + 4, text, css="tick", anchor="end")


def _draw_settings(
    canvas: Canvas, scale: Scale, settings: list[float], top: float, label: str
) -> None:
    """Draw the horizontal axis with a tick at each setting that was run, where there is room."""
    bottom, taken = top + _PLOT_HEIGHT, -math.inf
    canvas.line("base", _LEFT, bottom, _RIGHT, bottom)
    for setting in settings:
        text = f"{setting:,.0f}"
        half = text_width(text, SMALL_SIZE) / 2
        if scale(setting) - half > taken + 4:
            canvas.text(scale(setting), bottom + 16, text, css="tick", anchor="middle")
            taken = scale(setting) + half
    canvas.text((_LEFT + _RIGHT) / 2, bottom + 34, label, css="axis", anchor="middle")


def _draw_series(canvas: Canvas, series: Series, x_scale: Scale, y_scale: Scale) -> None:
    color = f"c{series.group % SERIES_COLORS + 1}"
    path = " ".join(f"{x_scale(p.x):.1f},{y_scale(p.y):.1f}" for p in series.points)
    canvas.add("polyline", f"curve {color}", points=path)
    for point in series.points:
        x = x_scale(point.x)
        if point.interval:
            low, high = (y_scale(bound) for bound in point.interval)
            canvas.line(f"whisker {color}", x, low, x, high)
        title = f"{series.name} {point.x:,.0f}: {format_number(point.y)}".strip()
        canvas.marker(series.group, f"mark {color}", x, y_scale(point.y), title)
