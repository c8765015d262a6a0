"""Charts of labelled rows: bars, forests of ratios, strips of raw samples.

Each label stands above its row, so that long labels stay readable on a phone.
"""

from ivme.report.charts.canvas import LABEL_SIZE, WIDTH, Canvas, shorten, text_width
from ivme.report.charts.scales import Scale, ratio_scale, tick_label
from ivme.report.charts.specifications import (
    BarChart,
    Effect,
    ForestChart,
    Interval,
    Strip,
    StripChart,
)

_LEFT, _RIGHT = 1.0, WIDTH - 1.0
_LABEL_HEIGHT = 17.0
_BAR_HEIGHT = 12.0
_BAR_ROW = 38.0
_FOREST_ROW = 50.0
_VERDICT_SHAPES = {"same": 0, "slower": 1, "faster": 2}  # others get a diamond
_STRIP_HEIGHT = 30.0
_STRIP_ROW = 58.0


def draw_bars(chart: BarChart) -> tuple[Canvas, float]:
    """Return the canvas of a bar chart, and its height."""
    canvas = Canvas()
    room = max(text_width(bar.text, LABEL_SIZE, is_bold=True) for bar in chart.bars) + 10
    high = max(end for bar in chart.bars for end in (bar.value, *(bar.interval or ()))) or 1.0
    scale = Scale(low=0.0, high=high, start=_LEFT, end=_RIGHT - room)
    for index, bar in enumerate(chart.bars):
        top = index * _BAR_ROW
        canvas.text(_LEFT, top + 12, shorten(bar.label, WIDTH, LABEL_SIZE), css="label")
        top += _LABEL_HEIGHT
        color, end = f"c{bar.group % 6 + 1}", scale(bar.value)
        title = f"{bar.label}: {bar.text}"
        width = max(end - _LEFT, 1.0)
        canvas.add(
            "rect", f"fill {color}", title, x=_LEFT, y=top, width=width, height=_BAR_HEIGHT, rx=2
        )
        if bar.interval:
            low, high = (scale(bound) for bound in bar.interval)
            _draw_whisker(canvas, "whisker ink", low, high, top + _BAR_HEIGHT / 2)
            end = max(end, high)
        canvas.text(end + 7, top + 10.5, bar.text, css="value")
    height = len(chart.bars) * _BAR_ROW
    canvas.text(_LEFT, height + 10, chart.x_label, css="axis")
    return canvas, height + 18


def draw_forest(chart: ForestChart) -> tuple[Canvas, float]:
    """Return the canvas of a forest chart, and its height."""
    canvas, top = Canvas(), 24.0
    height = len(chart.effects) * _FOREST_ROW
    scale = ratio_scale(_all_ratios(chart), _LEFT + 4, _RIGHT - 4)
    low, high = (scale(bound) for bound in chart.band)
    canvas.add("rect", "band", x=low, y=top, width=high - low, height=height)
    canvas.text(_LEFT, 12, "← slower", css="axis")
    canvas.text(_RIGHT, 12, "faster →", css="axis", anchor="end")
    for index, effect in enumerate(chart.effects):
        _draw_effect(canvas, effect, scale, top + index * _FOREST_ROW)
    _draw_bottom_axis(canvas, scale, top + height, chart.x_label)
    return canvas, top + height + 42


def draw_strips(chart: StripChart) -> tuple[Canvas, float]:
    """Return the canvas of a strip chart, and its height."""
    canvas = Canvas()
    scale = ratio_scale(chart.extent, _LEFT + 4, _RIGHT - 4)
    height = len(chart.strips) * _STRIP_ROW
    for index, strip in enumerate(chart.strips):
        _draw_strip(canvas, strip, scale, index * _STRIP_ROW)
    _draw_bottom_axis(canvas, scale, height, chart.x_label)
    return canvas, height + 42


def _all_ratios(chart: ForestChart) -> list[float]:
    effects = chart.effects
    bounds = [bound for one in effects for bound in (*one.interval, *(one.control or ()))]
    return [*bounds, *chart.band, *(effect.value for effect in effects)]


def _draw_effect(canvas: Canvas, effect: Effect, scale: Scale, top: float) -> None:
    """Draw one comparison: its label and figure, and its interval below them."""
    room = WIDTH - text_width(effect.text, LABEL_SIZE, is_bold=True) - 6
    canvas.text(_LEFT, top + 16, shorten(effect.label, room, LABEL_SIZE), css="label on-band")
    canvas.text(_RIGHT, top + 16, effect.text, css="value on-band", anchor="end")
    canvas.line("reference", scale(1.0), top + 22, scale(1.0), top + 44)
    if effect.control:
        low, high = (scale(bound) for bound in effect.control)
        _draw_whisker(canvas, "whisker control", low, high, top + 40)
    low, high = (scale(bound) for bound in effect.interval)
    tone = f"tone-{effect.verdict}"
    _draw_whisker(canvas, f"whisker {tone}", low, high, top + 29)
    title = f"{effect.label}: {effect.text}"
    shape = _VERDICT_SHAPES.get(effect.verdict, 3)
    canvas.marker(shape, f"mark {tone}", scale(effect.value), top + 29, title)


def _draw_strip(canvas: Canvas, strip: Strip, scale: Scale, top: float) -> None:
    """Draw the samples of one configuration, the first on top; outliers stand out."""
    room = WIDTH - text_width(strip.text, LABEL_SIZE) - 6
    canvas.text(_LEFT, top + 12, shorten(strip.label, room, LABEL_SIZE), css="label")
    canvas.text(_RIGHT, top + 12, strip.text, css="value quiet", anchor="end")
    top += _LABEL_HEIGHT + 2
    canvas.add("rect", "track", x=_LEFT, y=top, width=_RIGHT - _LEFT, height=_STRIP_HEIGHT, rx=3)
    if strip.box:
        _draw_box(canvas, strip.box, scale, top)
    canvas.line("median", scale(1.0), top, scale(1.0), top + _STRIP_HEIGHT)
    for sample in strip.samples:
        x, y = scale(sample.value), top + 4 + sample.order * (_STRIP_HEIGHT - 8)
        canvas.add("circle", f"sample {sample.severity}", cx=x, cy=y, r=_radius(sample.severity))


def _radius(severity: str) -> float:
    return {"inlier": 1.8, "mild": 2.4}.get(severity, 3.0)


def _draw_box(canvas: Canvas, box: Interval, scale: Scale, top: float) -> None:
    low, high = (scale(bound) for bound in box)
    canvas.add("rect", "box", x=low, y=top, width=max(high - low, 1.0), height=_STRIP_HEIGHT)


def _draw_whisker(canvas: Canvas, css: str, low: float, high: float, y: float) -> None:
    canvas.line(css, low, y, high, y)
    for x in (low, high):
        canvas.line(css, x, y - 4, x, y + 4)


def _draw_bottom_axis(canvas: Canvas, scale: Scale, y: float, label: str) -> None:
    canvas.line("base", _LEFT, y, _RIGHT, y)
    ticks = scale.ticks()
    taken = -10.0
    for tick in ticks:
        text = tick_label(tick, ticks)
        half = text_width(text, LABEL_SIZE) / 2
        x = min(max(scale(tick), _LEFT + half), _RIGHT - half)
        if x - half > taken + 4:
            canvas.line("base", scale(tick), y, scale(tick), y + 4)
            canvas.text(x, y + 17, text, css="tick", anchor="middle")
            taken = x + half
    canvas.text(WIDTH / 2, y + 35, label, css="axis", anchor="middle")
