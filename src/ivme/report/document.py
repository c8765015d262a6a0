"""The document that every report format renders: headings, text, tables and charts.

Texts here are plain and unescaped; each renderer escapes for its own format.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from ivme.report.charts.specifications import Chart


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Running text; `is_lead` marks the finding that a reader should see first."""

    text: str
    is_lead: bool = False


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that a reader must know; `is_warning` if it weakens the figures."""

    text: str
    word: str = "Note"
    is_warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line to copy."""

    text: str


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One figure that stands for a result: its value, what it is, and of what."""

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyFigures:
    """The key figures of a record, side by side."""

    figures: tuple[KeyFigure, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of formatted cells; `numeric` holds the indices of right-aligned columns."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Charts that belong together, shown side by side where there is room.

    `caption` tells how to read them all; the description of a chart is for it alone.
    """

    caption: str = ""
    charts: tuple[Chart, ...]


Block: TypeAlias = Paragraph | Note | Command | KeyFigures | Table | Plots


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is under it; `is_folded` starts closed where the format can fold."""

    title: str
    blocks: tuple[Block, ...]
    is_folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """The report of one record."""

    title: str
    summary: str
    blocks: tuple[Block, ...] = ()  # findings, before the first section
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report: one part a record."""

    title: str
    parts: tuple[Part, ...] = field(default_factory=tuple)
