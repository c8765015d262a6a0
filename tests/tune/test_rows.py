"""Rows: nothing is lost, places are exact, and what cannot be read is named."""

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.errors import WorkloadError
from ivme.tune import rows as rows_module
from ivme.tune.rows import Position, Row, RowReader

TEXTS = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30),
    max_size=12,
)


Write = Callable[[bytes | str, str], Path]


def read(path: Path, column: str | None = None, start: Position | None = None) -> list[Row]:
    with RowReader(path, column, start) as reader:
        return list(reader)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A function that writes a file of a kind and returns its path."""
    folder, numbers = tmp_path_factory.mktemp("rows"), itertools.count()

    def write(content: bytes | str, suffix: str) -> Path:
        path = folder / f"{next(numbers)}{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def table(texts: list[str]) -> str:
    lines = io.StringIO()
    csv.writer(lines).writerows([["id", "text"], *enumerate(texts)])
    return lines.getvalue()


def json_lines(texts: list[str]) -> str:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


@settings(deadline=None, max_examples=50)  # a loaded machine is no failure
@given(texts=TEXTS)
def test_every_text_of_a_table_is_read_once_whatever_it_holds(
    written: Write, texts: list[str]
) -> None:
    found = read(written(table(texts), ".csv"))

    assert [row.text for row in found] == [text if text.strip() else "" for text in texts]
    assert all((row.error is None) == bool(row.text) for row in found)


@settings(deadline=None, max_examples=50)  # a loaded machine is no failure
@given(texts=TEXTS)
def test_every_text_of_json_lines_is_read_once_whatever_it_holds(
    written: Write, texts: list[str]
) -> None:
    found = read(written(json_lines(texts), ".jsonl"))

    assert [row.text for row in found] == [text if text.strip() else "" for text in texts]
    assert [row.line for row in found] == list(range(1, len(texts) + 1))


@settings(deadline=None, max_examples=50)  # a loaded machine is no failure
@given(texts=TEXTS, suffix=st.sampled_from([".csv", ".jsonl"]))
def test_reading_goes_on_from_behind_any_row(written: Write, texts: list[str], suffix: str) -> None:
    path = written(table(texts) if suffix == ".csv" else json_lines(texts), suffix)
    whole = read(path)
    with RowReader(path) as reader:
        for number, _ in enumerate(reader, start=1):
            before = path.read_bytes()[: reader.position.offset_bytes]
            assert reader.digest.hexdigest() == hashlib.sha256(before).hexdigest()
            with RowReader(path, None, reader.position) as rest:
                assert rest.digest.hexdigest() == reader.digest.hexdigest()
                assert list(rest) == whole[number:]
            with RowReader(path, None, reader.position, is_part=True) as part:
                assert list(part) == whole[number:]


def test_lines_of_plain_text_are_stripped_and_keep_their_numbers(written: Write) -> None:
    found = read(written("\ufefffirst \r\n\n  third\nİstanbul 🎉", ".txt"))

    assert found == [
        Row(line=1, text="first"),
        Row(line=2, error="an empty text"),
        Row(line=3, text="third"),
        Row(line=4, text="İstanbul 🎉"),
    ]


BAD_LINES = {
    "not JSON": (".jsonl", b'{"text": "a"}\n{"text"\n{"text": "b"}\n', 2, "not valid JSON"),
    "a list": (".jsonl", b'{"text": "a"}\n[1]\n{"text": "b"}\n', 2, "no JSON object"),
    "no column": (".jsonl", b'{"text": "a"}\n{"t": 1}\n{"text": "b"}\n', 2, "its columns are 't'"),
    "a number": (".jsonl", b'{"text": "a"}\n{"text": 1}\n{"text": "b"}\n', 2, "no text but int"),
    "too deep": (".jsonl", b'{"text": "a"}\n' + b"[" * 200_000 + b'\n{"text": "b"}\n', 2, "JSON"),
    "not UTF-8": (".txt", b"a\n\xff\xfe\nb\n", 2, "not UTF-8 text"),
    "few columns": (".csv", b"id,text\n1,a\n2\n3,b\n", 3, "1 columns; the text is in column 2"),
    "an open quote": (".csv", b'id,text\n1,a\n2,"x\n3,b\n', 3, "no row of a table"),
    "text behind a quote": (".csv", b'id,text\n1,a\n2,"x"y\n3,b\n', 3, "no row of a table"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_the_rows_around_it_are_read(written: Write, name: str) -> None:
    suffix, content, line, message = BAD_LINES[name]
    first, bad, last = read(written(content, suffix))

    assert (first.text, last.text) == ("a", "b")
    assert bad.line == line
    assert message in str(bad.error)


def test_a_line_beyond_the_limit_is_named_and_not_kept(
    written: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MAX_LINE_BYTES", 64)
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 16)
    path = written(b"a\n" + b"x" * 1000 + b"\nb\n", ".txt")

    assert read(path) == [
        Row(line=1, text="a"),
        Row(line=2, error="a line of more than 64 bytes"),
        Row(line=3, text="b"),
    ]


def test_a_column_by_its_number_means_no_header(written: Write) -> None:
    path = written("1,eins\n2,zwei\n", ".csv")

    assert [row.text for row in read(path, "2")] == ["eins", "zwei"]
    assert [row.text for row in read(written('id\ttext\n1\t"a\n', ".tsv"))] == ['"a']


def test_a_number_beyond_the_columns_is_a_name_in_the_header(written: Write) -> None:
    path = written("id,2020\n1,eins\n2,zwei\n", ".csv")

    assert read(path, "2020") == [Row(line=2, text="eins"), Row(line=3, text="zwei")]


BAD_FILES = {
    "no such column": ("id,text\n1,a\n", ".csv", "body", "has no column 'body'; its columns are"),
    "an empty table": ("", ".csv", None, "is empty: it holds no header"),
    "a column of plain text": ("a\n", ".txt", "text", "has one text a line and no column 'text'"),
    "another kind": ("a\n", ".parquet", None, "unknown kind of file; expected one of .txt, .csv"),
    "not text": ("a\0b", ".txt", None, "is not UTF-8 text: it holds NUL bytes"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_read_are_refused(written: Write, name: str) -> None:
    content, suffix, column, message = BAD_FILES[name]

    with pytest.raises(WorkloadError, match=message):
        read(written(content, suffix), column)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="no such file; give a"):
        read(tmp_path / "none.txt")
    with pytest.raises(WorkloadError, match="is a folder; give one file"):
        read(tmp_path)
