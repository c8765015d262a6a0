"""Rows of a file of texts, read one by one: a file of any size, from any row on.

Each line of a .txt file, each object of a .jsonl file and each row of a table is one row. One that
cannot be read is given with the reason in place of its text, and reading goes on behind it.
"""

import codecs
import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ivme.errors import WorkloadError
from ivme.models.surrogates import without_lone_surrogates
from ivme.models.workloads import DEFAULT_COLUMN, MAX_FIELD_CHARACTERS, column_at

MAX_LINE_BYTES = MAX_FIELD_CHARACTERS
BLOCK_BYTES = 2**20
KINDS = (".txt", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: the number of its first line, and its text, or the reason why it has none.

    Lone surrogates, which JSON can say and no model reads, are U+FFFD in the text.
    """

    line: int
    text: str = ""
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place between two rows."""

    offset_bytes: int = 0
    line: int = 0  # lines before it


class RowReader:
    """The rows of one file from a position on; iterate over it, in a `with` block.

    `position` is the place behind the last row given, and `digest` the SHA-256 of all bytes before
    it, those before `start` included unless `is_part`, which goes there without reading them.

    Raises:
        WorkloadError: no such file, of another kind, not text, or no such column.
    """

    def __init__(
        self,
        path: Path,
        column: str | None = None,
        start: Position | None = None,
        *,
        is_part: bool = False,
    ) -> None:
        self.path = path
        self._column = column
        readers: Mapping[str, Callable[[], Iterator[Row]]] = {
            ".txt": self._plain_rows,
            ".csv": self._table_rows,
            ".tsv": self._table_rows,
            ".jsonl": self._json_rows,
        }
        self._suffix = path.suffix.lower()
        check_source(path, column)
        self._rows = readers[self._suffix]
        self._start = start
        self._is_part = is_part
        self._column_index = 0
        self.size_bytes = path.stat().st_size
        self.digest = hashlib.sha256()
        self.position = Position()

    def __enter__(self) -> "RowReader":
        self._file: BinaryIO = self.path.open("rb")
        self._limit_before = csv.field_size_limit(MAX_FIELD_CHARACTERS)  # of the whole process
        try:
            self._refuse_binary()
            if self._suffix in (".csv", ".tsv"):
                self._read_header()
            if self._start is not None and self._start.offset_bytes:
                self._skip_to(self._start)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        csv.field_size_limit(self._limit_before)
        self._file.close()

    def __iter__(self) -> Iterator[Row]:
        """Return the rows that are left."""
        return self._rows()

    def _refuse_binary(self) -> None:
        if b"\0" in self._file.read(BLOCK_BYTES):
            raise WorkloadError(
                f"{self.path} is not UTF-8 text: it holds NUL bytes; convert it to UTF-8"
            )
        self._file.seek(0)

    def _skip_to(self, start: Position) -> None:
        """Go to a place between two rows; through all bytes before it unless it is a part."""
        self._file.seek(start.offset_bytes if self._is_part else 0)
        self.digest = hashlib.sha256()
        left = 0 if self._is_part else start.offset_bytes
        while left and (block := self._file.read(min(left, BLOCK_BYTES))):
            self.digest.update(block)
            left -= len(block)
        self.position = start

    def _next_line(self) -> bytes | None:
        """Return the next line, None at the end; of a line beyond the limit, its beginning."""
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return None
        self._count(line)
        rest = line
        while not rest.endswith(b"\n") and (rest := self._file.readline(BLOCK_BYTES)):
            self._count(rest, lines=0)
        if self.position.line == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        return line

    def _count(self, content: bytes, lines: int = 1) -> None:
        self.digest.update(content)
        self.position = Position(
            offset_bytes=self.position.offset_bytes + len(content), line=self.position.line + lines
        )

    def _plain_rows(self) -> Iterator[Row]:
        while (line := self._next_line()) is not None:
            yield self._row(line, lambda text: text.strip())

    def _json_rows(self) -> Iterator[Row]:
        while (line := self._next_line()) is not None:
            if line.strip():
                yield self._row(line, self._text_of_object)

    def _row(self, line: bytes, read: Callable[[str], str]) -> Row:
        number = self.position.line
        try:
            text = without_lone_surrogates(read(decode_line(line)))
        except ValueError as error:
            return Row(line=number, error=str(error))
        return Row(line=number, text=text) if text.strip() else Row(line=number, error=EMPTY)

    def _text_of_object(self, line: str) -> str:
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error
        except RecursionError as error:
            raise ValueError("JSON that is nested too deep") from error
        name = self._column or DEFAULT_COLUMN
        if not isinstance(entry, dict):
            raise ValueError("no JSON object, such as {'text': '...'}")
        if name not in entry:
            raise ValueError(f"no column {name!r}; {_listed(entry)}")
        text: Any = entry[name]
        if not isinstance(text, str):
            raise ValueError(f"{name!r} is no text but {type(text).__name__}")
        return text

    def _table_rows(self) -> Iterator[Row]:
        while True:
            before, digest = self.position, self.digest.copy()
            try:
                row = next(self._table())
            except StopIteration:
                return
            except (csv.Error, ValueError) as error:
                # A quote that nothing closes takes in the lines behind it: only its own is bad.
                self._file.seek(before.offset_bytes)
                self.position, self.digest = before, digest
                self._next_line()
                yield Row(line=before.line + 1, error=f"no row of a table: {error}")
                continue
            if row:
                yield self._table_row(before.line + 1, row)

    def _table_row(self, line: int, row: Sequence[str]) -> Row:
        if len(row) <= self._column_index:
            return Row(
                line=line,
                error=f"{len(row)} columns; the text is in column {self._column_index + 1}",
            )
        text = row[self._column_index]
        return Row(line=line, text=text) if text.strip() else Row(line=line, error=EMPTY)

    def _table(self) -> Iterator[list[str]]:
        """Return a reader of the rows from here on; it takes no line before it needs it."""
        lines = (decode_line(line, newline=True) for line in iter(self._next_line, None))
        if self._suffix == ".tsv":  # a tab in a text cannot be quoted, nor need a quote be
            return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return csv.reader(lines, strict=True)

    def _read_header(self) -> None:
        """Find the column; a column given by its number means that there is no header."""
        name = self._column or DEFAULT_COLUMN
        try:
            header = next(self._table(), [])
        except (csv.Error, ValueError) as error:
            raise WorkloadError(f"{self.path}, line 1: not a table: {error}") from error
        if not header:
            raise WorkloadError(f"{self.path} is empty: it holds no header")
        self._column_index, is_by_number = column_at(self.path, header, name)
        if is_by_number:
            self._file.seek(0)
            self.digest = hashlib.sha256()
            self.position = Position()


EMPTY = "an empty text"


def check_source(path: Path, column: str | None) -> None:
    """Raise WorkloadError unless the path names a file of a kind that can be read.

    Raises:
        WorkloadError: it does not, or a file without columns is asked for one.
    """
    if path.is_dir():
        raise WorkloadError(f"{path} is a folder; give one file: {', '.join(KINDS)}")
    if path.suffix.lower() not in KINDS:
        raise WorkloadError(
            f"{path}: unknown kind of file; expected one of {', '.join(KINDS)}, named so"
        )
    if not path.is_file():
        raise WorkloadError(f"{path}: no such file; give a {', '.join(KINDS)} file")
    if column is not None and path.suffix.lower() == ".txt":
        raise WorkloadError(
            f"{path} has one text a line and no column {column!r}; columns need .csv or .jsonl"
        )


def decode_line(line: bytes, *, newline: bool = False) -> str:
    """Return a line as text, without its end unless `newline`.

    Raises:
        ValueError: it is too long, holds NUL bytes, or is not UTF-8.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
    if b"\0" in line:
        raise ValueError("NUL bytes, which no text holds")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start} of the line)") from error
    return text if newline else text.rstrip("\r\n")


def _listed(names: Mapping[str, Any]) -> str:
    shown = ", ".join(repr(name[:40]) for name in list(names)[:10])
    return f"its columns are {shown}" if shown else "it is empty"
