"""Escaping: texts from records may hold anything, and must stay text in every format."""

import html
import re

# Control characters are not allowed in XML; direction overrides make text read as what it is not.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MARKDOWN_MARKS = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def printable(text: object) -> str:
    """Return the text with characters that no page should hold replaced by U+FFFD."""
    return _UNSAFE.sub("\ufffd", str(text))


def escape_html(text: object) -> str:
    """Return the text for HTML and SVG, both between tags and in quoted attributes."""
    return html.escape(printable(text), quote=True)


def escape_markdown(text: object) -> str:
    """Return the text on one line, with every mark that Markdown or HTML would act on escaped."""
    line = " ".join(printable(text).split())
    return html.escape(_MARKDOWN_MARKS.sub(r"\\\1", line), quote=False)
