from pathlib import Path

import pytest

from ivme.errors import WorkloadError
from ivme.models.workloads import corpus_workload, read_workload


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_txt_file_has_one_text_a_line_and_blank_lines_are_counted(tmp_path: Path) -> None:
    workload = read_workload(write(tmp_path, "a.txt", "\ufeffone\r\n\n  ağaç \nthree"))

    assert workload.texts == ("one", "ağaç", "three")
    assert (workload.name, workload.labels, workload.skipped) == ("a.txt", None, 1)


def test_a_csv_file_is_read_by_column_with_its_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,text,label\n1,"one, two\nthree",yes\n2,,no\n3,four,no\n')
    workload = read_workload(path, label_column="label")

    assert workload.texts == ("one, two\nthree", "four")
    assert workload.labels == ("yes", "no")
    assert workload.skipped == 1


def test_a_tsv_file_without_a_header_is_read_by_column_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'a "quoted word\t1\nanother\t0\n')
    workload = read_workload(path, column="1", label_column="2")

    assert workload.texts == ('a "quoted word', "another")
    assert workload.labels == ("1", "0")


def test_a_number_beyond_the_columns_is_a_name_in_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,2020,2021\n1,good,yes\n2,bad,no\n")
    workload = read_workload(path, column="2020", label_column="2021")

    assert workload.texts == ("good", "bad")
    assert workload.labels == ("yes", "no")


def test_a_jsonl_file_is_read_by_key(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a.jsonl", '{"body": "one", "score": 1}\n\n{"body": "two", "score": 0}\n'
    )
    workload = read_workload(path, column="body", label_column="score")

    assert workload.texts == ("one", "two")
    assert workload.labels == ("1", "0")


def test_a_limit_stops_reading(tmp_path: Path) -> None:
    assert read_workload(write(tmp_path, "a.txt", "1\n2\n3\n"), limit=2).texts == ("1", "2")


def test_a_text_longer_than_csvs_own_limit_is_read(tmp_path: Path) -> None:
    text = "word " * 40_000

    assert read_workload(write(tmp_path, "a.csv", f"text\n{text}\n")).texts == (text,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt is empty: it holds no text"),
        ("a.txt", " \n\n", "a.txt is empty"),
        ("a.csv", "text\n", "a.csv is empty"),
        ("a.txt", b"ELF\0\1\2", "a.txt is not text: it holds NUL bytes"),
        ("a.txt", "caf\xe9".encode("latin-1"), r"a.txt is not UTF-8 text \(byte 3\); convert it"),
        ("a.csv", "body,id\nx,1\n", "no column 'text'; its columns are 'body', 'id'"),
        ("a.csv", "id,text\n1,x\n2\n", "a.csv, line 3: 1 columns where 2 are expected"),
        ("a.csv", 'text\n"x"y\n', "a.csv, line 2: not a table"),
        ("a.jsonl", '{"text": "x"}\n{"text": }\n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"body": "x"}\n', "a.jsonl, line 1 has no column 'text'.*'body'"),
        ("a.jsonl", '["x"]\n', "a.jsonl, line 1: expected an object"),
        ("a.jsonl", '{"text": 3}\n', "a.jsonl, line 1: 'text' is no text but 3"),
        ("a.pdf", "x", "a.pdf: unknown kind of file; expected one of .txt, .csv, .tsv, .jsonl"),
    ],
)
def test_a_file_that_holds_no_texts_is_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(WorkloadError, match=message) as caught:
        read_workload(write(tmp_path, name, content))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"is a folder; give one .txt"):
        read_workload(tmp_path)
    with pytest.raises(WorkloadError, match=r"nowhere.txt: no such file; give a .txt"):
        read_workload(tmp_path / "nowhere.txt")


def test_a_column_of_a_txt_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="one text a line and no column 'body'"):
        read_workload(write(tmp_path, "a.txt", "x"), column="body")


def test_corpus_workloads_repeat_with_their_seed() -> None:
    assert corpus_workload(20).texts == corpus_workload(20).texts
    assert corpus_workload(20).texts != corpus_workload(20, seed=1).texts


def test_more_texts_than_the_corpus_has_are_refused() -> None:
    with pytest.raises(WorkloadError, match="count=1000000; the built-in corpus has 1 to"):
        corpus_workload(1_000_000)


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "half \\ud83d a pair"}\n')
    assert read_workload(path).texts == ("half \ufffd a pair",)
