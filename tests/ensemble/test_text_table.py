import pytest

from ivme.ensemble.text_table import (
    check_known_labels,
    read_domains,
    read_label_names,
    read_table,
)
from ivme.errors import UsageError, WorkloadError

CONTENT = "text,label,kind\nhello there,1,letter\n,0,letter\nbye,0,\n"


def written(tmp_path, content=CONTENT, name="texts.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_texts_labels_and_domains_belong_together(tmp_path):
    path = written(tmp_path)
    data = read_table(path)
    assert data.texts == ("hello there", "bye")
    assert data.labels == ("1", "0")
    assert read_domains(path, "kind") == ("letter", "(none)")


def test_columns_may_be_numbers_and_files_tsv_or_jsonl(tmp_path):
    path = written(tmp_path, "hello there\t1\nbye\t0\n", "texts.tsv")
    assert read_table(path, text_column="1", label_column="2").labels == ("1", "0")
    path = written(tmp_path, '{"body": "hello", "class": 1}\n', "texts.jsonl")
    assert read_table(path, text_column="body", label_column="class").labels == ("1",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "hello\n", "a.txt has no labels; give a .csv, .tsv or .jsonl file"),
        (
            "a.csv",
            "text,class\nhello,1\n",
            "has no column 'label'; its columns are 'text', 'class'",
        ),
        ("a.csv", "body,label\nhello,1\n", "has no column 'text'; its columns are 'body', 'label'"),
        ("a.csv", "text,label\nhello,\n", "text 1 has no label in column 'label'"),
        (
            "a.jsonl",
            '{"text": "one", "label": 1}\n{"text": "two", "label": null}\n',
            "text 2 has no label in column 'label'",
        ),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "a.csv is not UTF-8"),
        ("a.csv", "text,label\n", "a.csv is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    with pytest.raises(WorkloadError, match=message):
        read_table(written(tmp_path, content, name))


def test_labels_get_names(tmp_path):
    assert read_label_names("0=AI, 1=Human") == {"0": "AI", "1": "Human"}
    assert read_label_names(None) == {}
    for wrong in ("AI", "0=", "=AI", "0=AI,0=Human"):
        with pytest.raises(UsageError, match="expected LABEL=NAME once for each label"):
            read_label_names(wrong)
    data = read_table(written(tmp_path))
    with pytest.raises(UsageError, match=r"names 'x'; the labels of .*texts.csv are 0, 1"):
        check_known_labels({"x": "AI"}, data)
