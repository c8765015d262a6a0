"""Scatter charts: what there is to choose from, by two figures, a size and a limit."""

import math
from collections.abc import Sequence

from ivme.report.charts.canvas import SMALL_SIZE, WIDTH, Canvas, shorten, text_width
from ivme.report.charts.scales import Scale, spread_scale, tick_label
from ivme.report.charts.specifications import ScatterChart, ScatterPoint

_LEFT, _RIGHT = 44.0, WIDTH - 12.0
_TOP, _PLOT_HEIGHT = 30.0, 210.0
_BOTTOM = _TOP + _PLOT_HEIGHT
_LARGEST_RADIUS, _PLAIN_RADIUS = 11.0, 4.0
_LINE = 12.0  # between labels
_MARGIN = 14.0  # so that circles at the edges are whole


def draw_scatter(chart: ScatterChart) -> tuple[Canvas, float]:
    """Return the canvas of a scatter chart, and its height."""
    canvas = Canvas()
    x_scale = _across(chart)
    heights = [point.y for point in chart.points]
    y_scale = spread_scale(heights, _BOTTOM - _MARGIN, _TOP + _MARGIN)
    _draw_axes(canvas, chart, x_scale, y_scale)
    if chart.limit is not None and chart.limit <= x_scale.high:
        at = x_scale(chart.limit)
        canvas.line("reference", at, _TOP, at, _BOTTOM)
        canvas.text(at + 4, _TOP + 10, "allowed", css="tick")
    _draw_front(canvas, chart.points, x_scale, y_scale)
    largest = max(point.size for point in chart.points)
    for point in sorted(chart.points, key=lambda one: -one.size):
        radius = _radius(point, largest)
        color = f"dot c{point.group % 6 + 1}"
        x, y = x_scale(point.x), y_scale(point.y)
        canvas.add("circle", color, point.text, cx=x, cy=y, r=radius)
    _draw_labels(canvas, chart.points, x_scale, y_scale, largest)
    return canvas, _BOTTOM + 42


def _across(chart: ScatterChart) -> Scale:
    """Return the scale of x from zero; the limit is inside where that hides nothing."""
    high = max(point.x for point in chart.points)
    if chart.limit is not None and chart.limit < 4 * high:
        high = max(high, chart.limit * 1.3)
    return Scale(low=0.0, high=high or 1.0, start=_LEFT + _MARGIN, end=_RIGHT - _MARGIN)


def _draw_axes(canvas: Canvas, chart: ScatterChart, x_scale: Scale, y_scale: Scale) -> None:
    canvas.text(0, 12, chart.y_label, css="axis")
    ticks = y_scale.ticks()
    for tick in ticks:
        canvas.line("grid", _LEFT, y_scale(tick), _RIGHT, y_scale(tick))
        text = tick_label(tick, ticks)
        canvas.text(_LEFT - 6, y_scale(tick) + 4, text, css="tick", anchor="end")
    canvas.line("base", _LEFT, _BOTTOM, _RIGHT, _BOTTOM)
    ticks = x_scale.ticks()
    for tick in ticks:
        canvas.text(
            x_scale(tick), _BOTTOM + 16, tick_label(tick, ticks), css="tick", anchor="middle"
        )
    canvas.text((_LEFT + _RIGHT) / 2, _BOTTOM + 34, chart.x_label, css="axis", anchor="middle")


def _draw_front(
    canvas: Canvas, points: Sequence[ScatterPoint], x_scale: Scale, y_scale: Scale
) -> None:
    """Join the points that nothing beats, in the order of x."""
    front = sorted((one.x, one.y) for one in points if one.is_front)
    if len(front) > 1:
        path = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in front)
        canvas.add("polyline", "curve control", points=path)


def _draw_labels(
    canvas: Canvas,
    points: Sequence[ScatterPoint],
    x_scale: Scale,
    y_scale: Scale,
    largest: float,
) -> None:
    """Name the points of the front and the first group, each where it covers no other name."""
    taken: list[tuple[float, float, float]] = []  # left, right, y
    named = [one for one in points if one.is_front or one.group == 0]
    for point in sorted(named, key=lambda one: (one.group, -one.y)):
        radius, x, y = _radius(point, largest), x_scale(point.x), y_scale(point.y)
        is_left = x > (_LEFT + _RIGHT) / 2
        room = (x - _LEFT if is_left else _RIGHT - x) - radius - 3
        text = shorten(point.label, room, SMALL_SIZE)
        width = text_width(text, SMALL_SIZE)
        start = x - radius - 3 - width if is_left else x + radius + 3
        free = _free_height(taken, start, start + width, y + 4)
        if free is None:
            continue
        taken.append((start, start + width, free))
        canvas.text(start, free, text, css="tick on-band")


def _free_height(
    taken: Sequence[tuple[float, float, float]], left: float, right: float, y: float
) -> float | None:
    """Return the height nearest to y at which a text covers no other; None if all are far."""
    for shift in (0.0, _LINE, -_LINE, 2 * _LINE, -2 * _LINE):
        height = y + shift
        is_clear = all(
            right < start or left > end or abs(height - other) >= _LINE
            for start, end, other in taken
        )
        if is_clear and _TOP < height < _BOTTOM:
            return height
    return None


def _radius(point: ScatterPoint, largest: float) -> float:
    if point.size <= 0:
        return _PLAIN_RADIUS
    return max(_PLAIN_RADIUS, _LARGEST_RADIUS * math.sqrt(point.size / largest))
