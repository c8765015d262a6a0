"""HTML: one self-contained page that needs no network, no script and no other file.

Everything from a record is escaped on the way in; the content policy in the page forbids scripts
and requests besides.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from ivme.report.charts.drawing import chart_style, draw
from ivme.report.charts.specifications import Chart
from ivme.report.document import (
    Block,
    Command,
    Document,
    KeyFigure,
    KeyFigures,
    Note,
    Paragraph,
    Part,
    Plots,
    Section,
    Table,
)
from ivme.report.escaping import escape_html

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_RANGE = "\u2013"  # the dash between two bounds


def render_html(document: Document) -> str:
    """Return the document as one HTML page."""
    is_single = len(document.parts) == 1
    parts = [
        _part(part, index, level=1 if is_single else 2) for index, part in enumerate(document.parts)
    ]
    head = "" if is_single else f"<h1>{escape_html(document.title)}</h1>{_contents(document)}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape_html(document.title)}</title>\n"
        f"<style>\n{chart_style()}{_page_style()}</style>\n</head>\n<body>\n<main>\n"
        f"{head}{''.join(parts)}</main>\n"
        "<footer>Made by <code>ivme report</code> from the record alone.</footer>\n"
        "</body>\n</html>\n"
    )


def _page_style() -> str:
    return files("ivme.report").joinpath("page.css").read_text(encoding="utf-8")


def _contents(document: Document) -> str:
    items = "".join(
        f'<li><a href="#record-{index}">{escape_html(part.title)}</a></li>'
        for index, part in enumerate(document.parts)
    )
    return f'<nav aria-label="Records"><ol>{items}</ol></nav>\n'


def _part(part: Part, index: int, level: int) -> str:
    sections = "".join(_section(section, level + 1) for section in part.sections)
    return (
        f'<article id="record-{index}">\n<h{level}>{escape_html(part.title)}</h{level}>\n'
        f'<p class="summary">{escape_html(part.summary)}</p>\n'
        f"{''.join(map(_block, part.blocks))}{sections}</article>\n"
    )


def _section(section: Section, level: int) -> str:
    heading = f"<h{level}>{escape_html(section.title)}</h{level}>"
    body = "".join(
        _table(block, is_titled=block.caption != section.title)
        if isinstance(block, Table)
        else _block(block)
        for block in section.blocks
    )
    if section.is_folded:
        return f"<details>\n<summary>{heading}</summary>\n{body}</details>\n"
    return f"<section>\n{heading}\n{body}</section>\n"


def _block(block: Block) -> str:
    return _RENDERED_BY[type(block)](block)


def _paragraph(paragraph: Paragraph) -> str:
    css = ' class="lead"' if paragraph.is_lead else ""
    return f"<p{css}>{_flowing(paragraph.text)}</p>\n"


def _flowing(text: str) -> str:
    """Return running text in which no line breaks within a range such as 1.05–1.11."""
    return escape_html(text).replace(_RANGE, f"\u2060{_RANGE}\u2060")


def _note(note: Note) -> str:
    css = "note warning" if note.is_warning else "note"
    return (
        f'<div class="{css}" role="note"><p><strong>{escape_html(note.word)}:</strong> '
        f"{_flowing(note.text)}</p></div>\n"
    )


def _command(command: Command) -> str:
    return f"<pre><code>{escape_html(command.text)}</code></pre>\n"


def _key_figures(block: KeyFigures) -> str:
    return f'<dl class="figures">{"".join(map(_key_figure, block.figures))}</dl>\n'


def _key_figure(figure: KeyFigure) -> str:
    detail = f'<dd class="detail">{_flowing(figure.detail)}</dd>' if figure.detail else ""
    return (
        f"<div><dt>{escape_html(figure.label)}</dt>"
        f'<dd class="value">{escape_html(figure.value)}</dd>{detail}</div>'
    )


def _table(table: Table, is_titled: bool = True) -> str:
    """Return the table in a box that scrolls by itself and can be reached by keyboard.

    is_titled: False where a heading says the same already; the caption is then read out only.
    """
    css = "" if is_titled else ' class="hidden"'
    head = "".join(
        f'<th scope="col"{_number(table, index)}>{escape_html(name)}</th>'
        for index, name in enumerate(table.columns)
    )
    rows = "".join(f"<tr>{_cells(table, row)}</tr>\n" for row in table.rows)
    caption = escape_html(table.caption)
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table>\n'
        f"<caption><span{css}>{caption}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _cells(table: Table, row: tuple[str, ...]) -> str:
    first = f'<th scope="row"{_number(table, 0)}>{escape_html(row[0])}</th>'
    rest = (
        f"<td{_number(table, index)}>{escape_html(cell)}</td>"
        for index, cell in enumerate(row[1:], start=1)
    )
    return first + "".join(rest)


def _number(table: Table, index: int) -> str:
    return ' class="number"' if index in table.numeric else ""


def _plots(block: Plots) -> str:
    caption = f'<p class="caption">{escape_html(block.caption)}</p>\n' if block.caption else ""
    return f'{caption}<div class="plots">\n{"".join(map(_figure, block.charts))}</div>\n'


def _figure(chart: Chart) -> str:
    detail = f"<span>{escape_html(chart.description)}</span>" if chart.description else ""
    title = f"<strong>{escape_html(chart.title)}</strong>" if chart.title else ""
    caption = f"<figcaption>{title}{detail}</figcaption>" if title or detail else ""
    return f"<figure>{caption}{draw(chart)}</figure>\n"


_RENDERED_BY: dict[type, Callable[[Any], str]] = {
    Command: _command,
    KeyFigures: _key_figures,
    Note: _note,
    Paragraph: _paragraph,
    Plots: _plots,
    Table: _table,
}
