"""Counting words, also in scripts that put no spaces between them.

A word is a run of letters and digits. Where a script has no spaces, letters are counted and
divided by the usual length of a word: two of Chinese and Japanese, four of Thai, Lao, Khmer and
Burmese. Korean has spaces. Signs, emoji and control characters are no words.
"""

import re
from itertools import islice

_IDEOGRAPHS = (
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = (  # letters alone: vowel signs and tones stand above, below or beside them
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0ec0-\u0ec6\u1000-\u102a\u1780-\u17b3"
)
_NO_SPACES = re.compile(f"[{_IDEOGRAPHS}{_UNSPACED}]")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
# Combining marks stand inside a word, as in Hindi or decomposed Latin; so do apostrophe and hyphen.
_MARKS = "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff"
_WORD = re.compile(rf"[^\W_](?:[\w{_MARKS}]|['\u2019\u2010\-](?=[^\W_]))*")
LETTERS_PER_WORD = {"ideographs": 2, "other scripts without spaces": 4}
_SPAN = re.compile(
    rf"[^\s{_IDEOGRAPHS}{_UNSPACED}]+|[{_IDEOGRAPHS}]{{1,2}}"
    rf"|(?:[{_UNSPACED}][^\s{_IDEOGRAPHS}{_UNSPACED}]*){{1,4}}"
)


def has_fewer_words(text: str, least: int) -> bool:
    """Return whether a text has fewer words than that; counts no further than it must."""
    if _has_spaces(text):
        return sum(1 for _ in islice(_WORD.finditer(text), least)) < least
    return count_words(text) < least


def count_words(text: str) -> int:
    """Return the number of words in a text."""
    if _has_spaces(text):
        return _runs(text)
    ideographs = len(_IDEOGRAPH.findall(text))
    others = len(_NO_SPACES.findall(text)) - ideographs
    two, four = LETTERS_PER_WORD.values()
    spaced = _NO_SPACES.sub(" ", text)
    return _runs(spaced) + -(-ideographs // two) + -(-others // four)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of each run without a space, in scripts without spaces of each word.

    Signs and marks belong to runs, so that only spaces lie between them.
    """
    return [found.span() for found in _SPAN.finditer(text)]


def _has_spaces(text: str) -> bool:
    return text.isascii() or not _NO_SPACES.search(text)


def _runs(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))
