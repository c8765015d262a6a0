"""Markdown: text and tables for a repository or a pull request; charts stand beside it as SVG."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from ivme.report.charts.alternatives import alternative
from ivme.report.charts.drawing import draw_standalone
from ivme.report.charts.specifications import Chart, StackChart
from ivme.report.document import (
    Block,
    Command,
    Document,
    KeyFigures,
    Note,
    Paragraph,
    Part,
    Plots,
    Section,
    Table,
)
from ivme.report.escaping import escape_markdown, printable

_FENCE = "```"


def render_markdown(document: Document, folder: str) -> tuple[str, dict[str, str]]:
    """Return the text, and the SVG files by name that it shows from `folder`.

    folder: relative to the Markdown file, as it is to stand in links.
    """
    renderer = _Renderer(folder)
    is_single = len(document.parts) == 1
    lines = [] if is_single else [f"# {escape_markdown(document.title)}", ""]
    for part in document.parts:
        lines.extend(renderer.part(part, level=1 if is_single else 2))
    return "\n".join(lines).rstrip() + "\n", renderer.charts


class _Renderer:
    """Renders blocks to lines, and collects the charts that they show."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.charts: dict[str, str] = {}

    def part(self, part: Part, level: int) -> Iterator[str]:
        yield from (f"{'#' * level} {escape_markdown(part.title)}", "")
        yield from (escape_markdown(part.summary), "")
        yield from self._blocks(part.blocks)
        for section in part.sections:
            yield from self._section(section, level + 1)

    def _section(self, section: Section, level: int) -> Iterator[str]:
        yield from (f"{'#' * level} {escape_markdown(section.title)}", "")
        for block in section.blocks:
            if isinstance(block, Table) and block.caption == section.title:
                yield from _rows(block)  # the heading says what the caption would
            else:
                yield from self._blocks((block,))

    def _blocks(self, blocks: tuple[Block, ...]) -> Iterator[str]:
        for block in blocks:
            if isinstance(block, Plots):
                yield from self._plots(block)
            else:
                yield from _RENDERED_BY[type(block)](block)

    def _plots(self, block: Plots) -> Iterator[str]:
        if block.caption:
            yield from (escape_markdown(block.caption), "")
        for chart in block.charts:
            words = re.findall(r"[a-z0-9]+", _name_of(chart).lower())
            name = f"{len(self.charts) + 1:02}-{'-'.join(words)[:60]}.svg"
            self.charts[name] = draw_standalone(chart)
            if chart.title:
                detail = f": {escape_markdown(chart.description)}" if chart.description else ""
                yield from (f"**{escape_markdown(chart.title)}**{detail}", "")
            yield from (
                f"![{escape_markdown(alternative(chart))}](<{self._folder}/{name}>)",
                "",
            )


def _name_of(chart: Chart) -> str:
    if isinstance(chart, StackChart):
        return chart.title
    return chart.title or chart.x_label


def _paragraph(paragraph: Paragraph) -> list[str]:
    text = escape_markdown(paragraph.text)
    return [f"**{text}**" if paragraph.is_lead else text, ""]


def _note(note: Note) -> list[str]:
    return [f"> **{escape_markdown(note.word)}:** {escape_markdown(note.text)}", ""]


def _command(command: Command) -> list[str]:
    text = " ".join(printable(command.text).split("\n"))
    fence = _FENCE
    while fence in text:
        fence += "`"
    return [f"{fence}sh", text, fence, ""]


def _key_figures(block: KeyFigures) -> list[str]:
    lines = []
    for figure in block.figures:
        detail = f" ({escape_markdown(figure.detail)})" if figure.detail else ""
        lines.append(
            f"- {escape_markdown(figure.label)}: **{escape_markdown(figure.value)}**{detail}"
        )
    return [*lines, ""]


def _table(table: Table) -> list[str]:
    return [f"**{escape_markdown(table.caption)}**", "", *_rows(table)]


def _rows(table: Table) -> list[str]:
    ruler = ["---:" if index in table.numeric else "---" for index in range(len(table.columns))]
    rows = [_row(map(escape_markdown, row)) for row in table.rows]
    head = [_row(map(escape_markdown, table.columns)), _row(ruler)]
    return [*head, *rows, ""]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


_RENDERED_BY: dict[type, Callable[[Any], list[str]]] = {
    Command: _command,
    KeyFigures: _key_figures,
    Note: _note,
    Paragraph: _paragraph,
    Table: _table,
}
