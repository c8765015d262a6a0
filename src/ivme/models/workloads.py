"""Workloads: the texts to run, from a file, from the built-in corpus, or of exact token counts."""

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import WorkloadError
from ivme.models.corpus import corpus_documents
from ivme.models.surrogates import without_lone_surrogates

if TYPE_CHECKING:
    pass

MAX_FILE_BYTES = 1 << 30
MAX_FIELD_CHARACTERS = 1 << 24  # of a csv field
DEFAULT_COLUMN = "text"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Texts to run, with a label for each where they are known."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    skipped: int = 0  # texts left out because they were empty


@dataclass(frozen=True)
class _Row:
    line: int
    text: str
    label: str | None


def read_workload(
    path: str | Path,
    *,
    column: str | None = None,
    label_column: str | None = None,
    limit: int | None = None,
) -> Workload:
    """Return the texts of a file: .txt (one a line), .csv, .tsv (with a header) or .jsonl.

    column: where the texts are, "text" unless given; label_column: where the labels are. A column
    given by its number, from 1, means that the table has no header. A label that is empty, or null
    in JSON, is "". Empty texts are left out and counted; limit: read no more texts than this.

    Raises:
        WorkloadError: no such file, a folder, empty, not text, no such column, a damaged line.
    """
    path = Path(path)
    readers: Mapping[str, Callable[..., Iterator[_Row]]] = {
        ".txt": _read_lines,
        ".csv": _read_table,
        ".tsv": _read_table,
        ".jsonl": _read_json_lines,
    }
    if path.suffix.lower() not in readers and not path.is_dir():
        raise WorkloadError(
            f"{path}: unknown kind of file; expected one of {', '.join(readers)}, named so"
        )
    content = _read_text(path)
    rows = readers[path.suffix.lower()](path, content, column, label_column)
    return _collect(path, rows, has_labels=label_column is not None, limit=limit)


def corpus_workload(count: int, *, seed: int = 0) -> Workload:
    """Return `count` documents of the built-in corpus, of mixed length, drawn with `seed`.

    Raises:
        WorkloadError: the corpus has fewer.
    """
    documents = corpus_documents()
    if not 1 <= count <= len(documents):
        raise WorkloadError(f"count={count}; the built-in corpus has 1 to {len(documents)} texts")
    texts = tuple(random.Random(seed).sample(documents, count))
    return Workload(name=f"corpus-{count}", texts=texts)


def _read_text(path: Path) -> str:
    """Return the file's content; raises WorkloadError if it cannot be a file of texts."""
    if path.is_dir():
        raise WorkloadError(f"{path} is a folder; give one .txt, .csv, .tsv or .jsonl file")
    if not path.is_file():
        raise WorkloadError(f"{path}: no such file; give a .txt, .csv, .tsv or .jsonl file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise WorkloadError(
            f"{path} has {path.stat().st_size} bytes; at most {MAX_FILE_BYTES} are read: split it"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkloadError(f"{path} cannot be read: {error.strerror}") from error
    if b"\0" in content:
        raise WorkloadError(f"{path} is not text: it holds NUL bytes; give a UTF-8 file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorkloadError(
            f"{path} is not UTF-8 text (byte {error.start}); convert it: "
            "iconv -f LATIN1 -t UTF-8 IN > OUT"
        ) from error


def _collect(path: Path, rows: Iterator[_Row], *, has_labels: bool, limit: int | None) -> Workload:
    kept: list[_Row] = []
    skipped = 0
    for row in rows:
        if limit is not None and len(kept) == limit:
            break
        if row.text.strip():
            kept.append(row)
        else:
            skipped += 1
    if not kept:
        raise WorkloadError(f"{path} is empty: it holds no text")
    labels = tuple(row.label or "" for row in kept) if has_labels else None
    texts = tuple(row.text for row in kept)
    return Workload(name=path.name, texts=texts, labels=labels, skipped=skipped)


def _read_lines(
    path: Path, content: str, column: str | None, label_column: str | None
) -> Iterator[_Row]:
    for name in (column, label_column):
        if name is not None:
            raise WorkloadError(
                f"{path} has one text a line and no column {name!r}; columns need .csv or .jsonl"
            )
    for number, line in enumerate(content.split("\n"), start=1):
        yield _Row(number, line.strip(), None)


def _read_table(
    path: Path, content: str, column: str | None, label_column: str | None
) -> Iterator[_Row]:
    before = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    lines = io.StringIO(content, newline="")
    if path.suffix.lower() == ".tsv":  # a tab in a text cannot be quoted, nor need a quote be
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise WorkloadError(f"{path}, line {reader.line_num}: not a table: {error}") from error
    finally:
        csv.field_size_limit(before)
    if not rows:
        return
    header = rows[0][1]
    text_at, is_by_number = column_at(path, header, column or DEFAULT_COLUMN)
    label_at = column_at(path, header, label_column)[0] if label_column else None
    for line, row in rows if is_by_number else rows[1:]:
        if len(row) <= max(text_at, label_at or 0):
            raise WorkloadError(
                f"{path}, line {line}: {len(row)} columns where {len(header)} are expected; quote "
                "texts that hold the separator"
            )
        yield _Row(line, row[text_at], None if label_at is None else row[label_at])


def column_at(path: Path, header: Sequence[str], name: str) -> tuple[int, bool]:
    """Return where the column is, from 0, and whether `name` is its number, from 1.

    A number beyond the columns may still be a name in the header, such as a year.
    """
    if name.isdecimal() and 1 <= int(name) <= len(header):
        return int(name) - 1, True
    if name in header:
        return header.index(name), False
    raise WorkloadError(
        f"{path} has no column {name!r}; its columns are {_listed(header)}; where there is no "
        "header, give the column's number, from 1"
    )


def _read_json_lines(
    path: Path, content: str, column: str | None, label_column: str | None
) -> Iterator[_Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise WorkloadError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(entry, dict):
            raise WorkloadError(
                f"{path}, line {number}: expected an object such as {{'text': '...'}}"
            )
        text = _value(path, number, entry, column or DEFAULT_COLUMN)
        if not isinstance(text, str):
            raise WorkloadError(
                f"{path}, line {number}: {column or DEFAULT_COLUMN!r} is no text but {text!r}"
            )
        label = _value(path, number, entry, label_column) if label_column else None
        text = without_lone_surrogates(text)
        yield _Row(number, text, None if label is None else str(label))


def _value(path: Path, number: int, entry: Mapping[str, Any], name: str) -> Any:
    if name not in entry:
        raise WorkloadError(
            f"{path}, line {number} has no column {name!r}; its columns are {_listed(entry)}"
        )
    return entry[name]


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Return names as a message shows them: at most ten, each cut."""
    shown = [repr(name[:40]) for name in list(names)[:10]]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
