import json
from pathlib import Path

import pytest

from ivme.ensemble.folder import MANIFEST, read_file, read_manifest, write_folder
from ivme.errors import UsageError


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(tmp_path / "model", "test", {"labels": ["a"]}, {"part.json": b"{}"})


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_files_come_back_as_they_were_written(folder):
    manifest = read_manifest(folder, "test")
    assert manifest["labels"] == ["a"]
    assert read_file(folder, "part.json", manifest) == b"{}"
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "part.json"]


def test_a_file_that_changed_is_refused_by_name(folder):
    (folder / "part.json").write_bytes(b"[]")
    with pytest.raises(UsageError, match=r"part\.json is not the file that the manifest"):
        read_file(folder, "part.json", read_manifest(folder, "test"))


def test_a_file_that_is_gone_is_refused_by_name(folder):
    (folder / "part.json").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*part\.json: No such file"):
        read_file(folder, "part.json", read_manifest(folder, "test"))


@pytest.mark.parametrize("name", ["model.pkl", "vectorizer.joblib", "pytorch_model.bin"])
def test_a_pickle_in_the_folder_is_refused_by_name(folder, name):
    (folder / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(UsageError, match=f"{name} may be a pickle"):
        read_manifest(folder, "test")


@pytest.mark.parametrize(
    "name",
    [
        "../part.json",
        "/etc/passwd.json",
        "sub/part.json",
        "part.pkl",
        "part.onnx",
        "..\\part.json",
    ],
)
def test_a_manifest_that_names_files_elsewhere_or_of_other_kinds_is_refused(folder, name):
    change_manifest(folder, files={name: "0"})
    with pytest.raises(UsageError, match="names the file"):
        read_manifest(folder, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "no manifest of format 'test'"),
        ({"version": 2}, "is of version 2; this ivme reads 1"),
        ({"files": {}}, "names no files"),
        ({"files": ["part.json"]}, "names no files"),
        ({"files": {"part.json": 7}}, "has no SHA-256"),
    ],
)
def test_a_foreign_manifest_is_refused(folder, changes, message):
    change_manifest(folder, **changes)
    with pytest.raises(UsageError, match=message):
        read_manifest(folder, "test")


@pytest.mark.parametrize("content", ["{", "[1]", "\u00ff", "[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(folder, content):
    (folder / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=MANIFEST):
        read_manifest(folder, "test")


def test_a_place_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="nothing is no folder"):
        read_manifest(tmp_path / "nothing", "test")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        write_folder(tmp_path / "file", "test", {}, {"part.json": b""})
