"""Sentences of a text, each with its neighbors: where a text reads how.

Offsets are in UTF-16 code units, as JavaScript counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# A sentence ends at its marks and any closing quotes before a space, at the marks of scripts
# without spaces, or at the end of a line.
_END = re.compile(r"[.!?\u2026\u0964\u06d4]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f]+|\n+")
MOST_SENTENCES = 200  # of one text; of a longer one neighbors are joined


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a text, in characters."""

    start: int
    end: int


def split_sentences(text: str, most: int = MOST_SENTENCES) -> list[Span]:
    """Return the sentences of a text in order, without the space around them."""
    spans = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        part = text[start:end]
        stripped = part.strip()
        if stripped:
            first = start + len(part) - len(part.lstrip())
            spans.append(Span(start=first, end=first + len(stripped)))
        start = end
    return _joined(spans, most)


def windows(text: str, spans: Sequence[Span]) -> list[str]:
    """Return each sentence with the one before and the one after: alone it says too little."""
    last = len(spans) - 1
    return [
        text[spans[max(at - 1, 0)].start : spans[min(at + 1, last)].end] for at in range(len(spans))
    ]


def utf16_offsets(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Return start and end of each span, which are in order, in UTF-16 code units."""
    offsets = []
    units = position = 0
    for span in spans:
        bounds = []
        for place in (span.start, span.end):
            units += len(text[position:place].encode("utf-16-le", "surrogatepass")) // 2
            position = place
            bounds.append(units)
        offsets.append((bounds[0], bounds[1]))
    return offsets


def _joined(spans: list[Span], most: int) -> list[Span]:
    if len(spans) <= most:
        return spans
    size = -(-len(spans) // most)
    parts = [spans[at : at + size] for at in range(0, len(spans), size)]
    return [Span(start=part[0].start, end=part[-1].end) for part in parts]
