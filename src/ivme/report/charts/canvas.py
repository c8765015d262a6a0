"""The canvas: SVG elements as text, with everything escaped on the way in.

Charts are 340 units wide, the width of a phone's column, so that text is drawn at its real size
there. Colors come from CSS classes (charts.css), never from attributes.
"""

from ivme.report.escaping import escape_html

WIDTH = 340
LABEL_SIZE = 12
SMALL_SIZE = 11
_WIDTH_PER_LETTER = 0.56  # of the font size; wide sans-serif fonts need it, most need 0.5
_FILE_MARGIN = 14
_FILE_SCALE = 1.4  # a file is shown on wider pages than a phone's
_BOLD = 1.13  # as wide as regular letters

_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
)


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """Return roughly how wide a text is drawn."""
    return len(text) * size * _WIDTH_PER_LETTER * (_BOLD if is_bold else 1.0)


def shorten(text: str, width: float, size: float) -> str:
    """Return the text cut in its middle to fit the width: beginnings and ends tell labels apart."""
    letters = int(width / (size * _WIDTH_PER_LETTER))
    if len(text) <= letters:
        return text
    head = max(1, (letters - 1) // 2)
    return f"{text[:head]}…{text[len(text) - max(1, letters - 1 - head) :]}"


class Canvas:
    """Collects the elements of one chart."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, tag: str, css: str, title: str | None = None, **attributes: float | str) -> None:
        """Add an element; underscores in names become dashes; `title` shows on hovering."""
        written = "".join(
            f' {name.replace("_", "-")}="{_written(value)}"' for name, value in attributes.items()
        )
        start = f'<{tag} class="{escape_html(css)}"{written}'
        if title is None:
            self._parts.append(f"{start}/>")
        else:
            self._parts.append(f"{start}><title>{escape_html(title)}</title></{tag}>")

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """Add a straight line."""
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def text(self, x: float, y: float, text: str, *, css: str = "", anchor: str = "start") -> None:
        """Add a text whose baseline is at y; anchor: start, middle or end."""
        self._parts.append(
            f'<text class="{escape_html(css)}" x="{_written(x)}" y="{_written(y)}" '
            f'text-anchor="{anchor}">{escape_html(text)}</text>'
        )

    def marker(self, shape: int, css: str, x: float, y: float, title: str | None = None) -> None:
        """Add the marker of a series; shapes differ so that color is not the only sign."""
        radius = 4.0
        if shape % 4 == 0:
            self.add("circle", css, title, cx=x, cy=y, r=radius)
            return
        corners = _CORNERS[shape % 4 - 1]
        scale = radius * 0.92
        points = " ".join(f"{x + dx * scale:.1f},{y + dy * scale:.1f}" for dx, dy in corners)
        self.add("polygon", css, title, points=points)

    def finish(self, height: float, label: str) -> str:
        """Return the SVG element for a page; `label` is read out in place of the drawing."""
        return self._element(f'viewBox="0 0 {WIDTH} {height:.0f}"', label, "")

    def finish_file(self, height: float, label: str, style: str) -> str:
        """Return the SVG element of a file: with a style, a background, a margin and a size."""
        width, height = WIDTH + 2 * _FILE_MARGIN, height + 2 * _FILE_MARGIN
        corner = f"{-_FILE_MARGIN} {-_FILE_MARGIN}"
        size = f'width="{width * _FILE_SCALE:.0f}" height="{height * _FILE_SCALE:.0f}"'
        background = (
            f'<rect class="page" x="{-_FILE_MARGIN}" y="{-_FILE_MARGIN}" '
            f'width="{width}" height="{height:.0f}"/>'
        )
        start = f"<style>{style}</style>{background}"
        return self._element(f'viewBox="{corner} {width} {height:.0f}" {size}', label, start)

    def _element(self, attributes: str, label: str, start: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" {attributes} '
            f'aria-label="{escape_html(label)}">{start}{"".join(self._parts)}</svg>'
        )


def _written(value: float | str) -> str:
    return escape_html(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
