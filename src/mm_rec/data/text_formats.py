"""How .txt, .jsonl and .csv files become texts, with bounded memory; strict about what they hold.

Bytes that are not UTF-8 become U+FFFD and are counted; a file that is mostly such bytes is refused.
"""

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mm_rec.errors import DataError

BLOCK_BYTES = 1 << 20
MOST_LINE_BYTES = 64 << 20  # of a line or row that must be in memory whole
MOST_FOREIGN_SHARE = 0.1  # of the first block's characters; beyond it the file is no UTF-8
REPLACEMENT = "\ufffd"


@dataclass
class ReadingCounts:
    """What was read, mended and left out."""

    documents: int = 0
    empty_documents: int = 0
    replaced_characters: int = 0  # bytes that were not UTF-8, and halves of surrogate pairs


# The texts of one file: for each document its text in chunks, and its place for messages.
Documents = Iterator[tuple[Iterator[str], str]]
Reader = Callable[[BinaryIO, Path, str, ReadingCounts], Documents]


def read_txt(file: BinaryIO, path: Path, text_field: str, counts: ReadingCounts) -> Documents:
    """Yield the whole file as one document."""
    yield _decode_blocks(file, path, counts), str(path)


def read_jsonl(file: BinaryIO, path: Path, text_field: str, counts: ReadingCounts) -> Documents:
    """Yield the text in each line's object; blank lines count nothing."""
    for number, line in enumerate(_lines(file, path, counts), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield iter([_text_in(line, place, text_field, counts)]), place


def read_csv(file: BinaryIO, path: Path, text_field: str, counts: ReadingCounts) -> Documents:
    """Yield the text in each row's column; the first row names the columns."""
    lines = _lines(file, path, counts)
    former_limit = csv.field_size_limit(MOST_LINE_BYTES)
    try:
        rows = csv.reader(lines, strict=True)
        header = next(rows, None)
        if header is None:
            return
        if text_field not in header:
            raise DataError(
                f"{path} has no column {text_field!r}; its columns are {', '.join(header)}."
            )
        column = header.index(text_field)
        for row in rows:
            place = f"{path}, line {rows.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{place} has {len(row)} columns; expected {len(header)}.")
            yield iter([row[column]]), place
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num} is not valid CSV: {error}.") from error
    finally:
        csv.field_size_limit(former_limit)


READERS: dict[str, Reader] = {".txt": read_txt, ".jsonl": read_jsonl, ".csv": read_csv}


def _decode_blocks(file: BinaryIO, path: Path, counts: ReadingCounts) -> Iterator[str]:
    """Yield the text of a file, a block at a time."""
    pending, is_first = b"", True
    while block := file.read(BLOCK_BYTES):
        text, pending = _decode(pending + block, counts, is_last=False)
        if is_first:
            _check_encoding(text, path)
            text, is_first = text.removeprefix("\ufeff"), False
        yield text
    if pending:
        yield _decode(pending, counts, is_last=True)[0]


def _lines(file: BinaryIO, path: Path, counts: ReadingCounts) -> Iterator[str]:
    """Yield the lines of a file, their ends included."""
    number = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise DataError(
                f"{path}, line {number} is longer than {MOST_LINE_BYTES >> 20} MiB; split it, or "
                "store the text as .txt, which may have lines of any length."
            )
        text, _ = _decode(line, counts, is_last=True)
        if number == 1:
            _check_encoding(text, path)
            text = text.removeprefix("\ufeff")
        yield text


def _decode(data: bytes, counts: ReadingCounts, *, is_last: bool) -> tuple[str, bytes]:
    """Return the text, and the bytes of a last character that is not complete yet."""
    try:
        text, used = codecs.utf_8_decode(data, "strict", is_last)
    except UnicodeDecodeError:
        text, used = codecs.utf_8_decode(data, "replace", is_last)
        own = data[:used].count(REPLACEMENT.encode())
        counts.replaced_characters += text.count(REPLACEMENT) - own
    return text, data[used:]


def _check_encoding(text: str, path: Path) -> None:
    """Refuse a file whose first block is not UTF-8; in UTF-16 many bytes are zero."""
    if text.count(REPLACEMENT) + text.count("\0") > MOST_FOREIGN_SHARE * len(text):
        raise DataError(f"{path} is not UTF-8 text; convert it, or take it out of the data.")


def _text_in(line: str, place: str, text_field: str, counts: ReadingCounts) -> str:
    """Return the text that a line of JSON holds."""
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not valid JSON: {error}.") from error
    text = content.get(text_field) if isinstance(content, dict) else content
    if not isinstance(text, str):
        keys = f"; its keys are {', '.join(content)}" if isinstance(content, dict) else ""
        raise DataError(f"{place} has no text under {text_field!r}{keys}.")
    return _without_lone_surrogates(text, counts)


def _without_lone_surrogates(text: str, counts: ReadingCounts) -> str:
    """Return text that can be encoded: JSON may spell out half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        counts.replaced_characters += mended.count(REPLACEMENT) - text.count(REPLACEMENT)
        return mended
    return text
