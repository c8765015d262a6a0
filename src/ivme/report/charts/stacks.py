"""Stack charts: what wholes are made of, one bar a whole, its parts named below."""

from ivme.report.charts.canvas import LABEL_SIZE, WIDTH, Canvas, shorten, text_width
from ivme.report.charts.specifications import Stack, StackChart

_LEFT, _RIGHT = 1.0, WIDTH - 1.0
_LABEL_HEIGHT = 17.0
_BAR_HEIGHT = 24.0
_GAP = 12.0
_LEGEND_ROW = 18.0


def draw_stacks(chart: StackChart) -> tuple[Canvas, float]:
    """Return the canvas of a stack chart, and its height. All bars share one scale."""
    canvas, top = Canvas(), 0.0
    longest = max(sum(part.value for part in one.parts) for one in chart.stacks) or 1.0
    for stack in chart.stacks:
        top = _draw_stack(canvas, stack, top, (_RIGHT - _LEFT) / longest)
    return canvas, top


def _draw_stack(canvas: Canvas, stack: Stack, top: float, unit: float) -> float:
    """Draw one bar and its parts' names; return where the next one begins."""
    room = WIDTH - text_width(stack.text, LABEL_SIZE, is_bold=True) - 6
    canvas.text(_LEFT, top + 12, shorten(stack.label, room, LABEL_SIZE), css="label")
    canvas.text(_RIGHT, top + 12, stack.text, css="value", anchor="end")
    top, x = top + _LABEL_HEIGHT, _LEFT
    for part in stack.parts:
        title = f"{part.label}: {part.text}"
        width = max(part.value * unit, 0.6)
        css = f"fill c{part.group % 6 + 1}"
        canvas.add("rect", css, title, x=x, y=top, width=width, height=_BAR_HEIGHT)
        x += width
    return _draw_legend(canvas, stack, top + _BAR_HEIGHT + 14) + _GAP


def _draw_legend(canvas: Canvas, stack: Stack, y: float) -> float:
    """Draw a square, name and figure of each part, in wrapping rows; return where they end."""
    x = _LEFT
    for part in stack.parts:
        text = f"{part.label} {part.text}"
        width = text_width(text, LABEL_SIZE) + 24
        if x > _LEFT and x + width > WIDTH:
            x, y = _LEFT, y + _LEGEND_ROW
        css = f"fill c{part.group % 6 + 1}"
        canvas.add("rect", css, x=x, y=y - 9, width=10, height=10, rx=2)
        canvas.text(x + 14, y, text, css="label")
        x += width
    return y + 8
