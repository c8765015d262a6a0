import csv
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.data import documents, text_formats
from mm_rec.data.documents import TextFiles, Texts, document_source
from mm_rec.data.splitting import scan
from mm_rec.data.text_formats import ReadingCounts
from mm_rec.errors import DataError


def read(path, **settings):
    counts = ReadingCounts()
    return list(TextFiles(path=path, **settings).read(counts)), counts


def texts_of(path, **settings):
    return [document.text for document in read(path, **settings)[0]]


def test_a_txt_file_is_one_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("first\r\n\r\nsecond ü".encode())
    assert texts_of(path) == ["first\r\n\r\nsecond ü"]


def test_a_jsonl_line_is_one_document(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\ntwo"}\n\n{"text": "three"}\n"bare"')
    found, _ = read(path)
    assert [document.text for document in found] == ["one\ntwo", "three", "bare"]
    assert found[1].source == f"{path}, line 3"


def test_a_csv_row_is_one_document(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["label", "body"], [1, 'say "hi",\nthen go'], [0, "x" * 200000]]
        )
    assert texts_of(path, text_field="body") == ['say "hi",\nthen go', "x" * 200000]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    for name in ("b.txt", "a/z.txt", "a.jsonl", ".hidden.txt", ".git/c.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"{name}"')
    assert texts_of(tmp_path) == ["a.jsonl", '"a/z.txt"', '"b.txt"']


def test_empty_documents_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.jsonl").write_text('{"text": ""}\n{"text": "here"}\n')
    found, counts = read(tmp_path)
    assert [document.text for document in found] == ["here"]
    assert (counts.documents, counts.empty_documents) == (1, 2)


def test_nothing_but_empty_files_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="there is no text: 1 documents, all empty"):
        scan(TextFiles(path=tmp_path))


def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good text " * 10 + b"\xff bad \xc3" + "own \ufffd".encode())
    found, counts = read(path)
    assert found[0].text == "good text " * 10 + "\ufffd bad \ufffdown \ufffd"
    assert counts.replaced_characters == 2


@pytest.mark.parametrize("data", ["text in UTF-16".encode("utf-16"), bytes(range(128, 256))])
def test_a_file_in_another_encoding_is_refused(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 text; convert it"):
        read(tmp_path)


def test_a_byte_order_mark_is_no_text(tmp_path):
    for name in ("a.txt", "b.jsonl"):
        (tmp_path / name).write_bytes(b'\xef\xbb\xbf"text"')
    assert texts_of(tmp_path) == ['"text"', "text"]


def test_half_a_surrogate_pair_in_json_is_replaced_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud83d b \\ud83d\\ude00"}')
    found, counts = read(tmp_path)
    assert (found[0].text, counts.replaced_characters) == ("a\ufffd b 😀", 1)


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_a_text_of_any_length_and_letters_comes_in_bounded_pieces(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE_CHARACTERS", 8)
        patch.setattr(text_formats, "BLOCK_BYTES", 3)
        found, counts = read(path)
    assert "".join(document.text for document in found) == text
    assert all(0 < len(document.text) <= 8 for document in found)
    assert [document.is_continued for document in found] == [True] * (len(found) - 1) + [False] * (
        len(found) > 0
    )
    assert counts == ReadingCounts(documents=bool(text), empty_documents=not text)


def test_a_piece_ends_with_a_line_or_before_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "PIECE_CHARACTERS", 8)
    (tmp_path / "a.txt").write_text("ab cd\nefgh ijklmnopqrst")
    assert texts_of(tmp_path) == ["ab cd\n", "efgh", " ijklmno", "pqrst"]


def test_a_huge_line_of_a_txt_file_is_fine_and_one_of_jsonl_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(text_formats, "MOST_LINE_BYTES", 1 << 20)
    line = "x" * (3 << 20)
    (tmp_path / "a.txt").write_text(line)
    assert "".join(texts_of(tmp_path)) == line
    (tmp_path / "a.jsonl").write_text(f'"short"\n"{line}"')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2 is longer than 1 MiB; split it"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("change", ["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, change):
    path = tmp_path / "a.txt"
    path.write_text("x" * (4 << 20))
    reading = TextFiles(path=path).read(ReadingCounts())
    next(reading)
    with path.open("r+b") as file:
        file.truncate((2 << 20) if change == "shrinks" else (5 << 20))
    with pytest.raises(DataError, match=r"a\.txt changed while it was read \(4194304 bytes"):
        list(reading)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": ', "a.jsonl, line 2 is not valid JSON"),
        ("a.jsonl", '{"body": "a", "id": 1}', "line 1 has no text under 'text'; its keys are body"),
        ("a.jsonl", "[1]", "line 1 has no text under 'text'"),
        ("a.csv", "body,label\na,1\n", "has no column 'text'; its columns are body, label"),
        ("a.csv", "text,label\na,1\nb\n", "a.csv, line 3 has 1 columns; expected 2"),
        ("a.csv", 'text\n"a"b\n', "a.csv, line 2 is not valid CSV"),
        ("a.md", "text", "a.md is of an unknown kind; expected a file ending in .txt"),
    ],
)
def test_what_cannot_be_read_names_file_line_and_reason(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)


def test_missing_and_useless_paths_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"holds no text; expected files ending in \.txt, \.jsonl"):
        read(tmp_path)
    with pytest.raises(DataError, match="missing does not exist"):
        read(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read(tmp_path)


def test_the_identity_changes_with_the_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    former = TextFiles(path=tmp_path).identity
    assert TextFiles(path=tmp_path).identity == former
    path.write_text("texts")
    assert TextFiles(path=tmp_path).identity != former


def test_texts_at_hand_are_documents_too():
    source = document_source(["one", "", "two"])
    assert [document.text for document in source.read(ReadingCounts())] == ["one", "two"]
    assert source.identity == Texts(texts=("one", "", "two")).identity
    assert source.identity != Texts(texts=["one", "two"]).identity


def test_texts_that_can_be_read_once_only_are_refused():
    with pytest.raises(DataError, match="can be read once only; expected a list, or a path"):
        document_source(iter(["one"]))
