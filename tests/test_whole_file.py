import os
import stat

import pytest

from ivme.whole_file import write_json, write_whole


def test_text_and_bytes_replace_what_was_there_and_make_folders(tmp_path):
    path = tmp_path / "new" / "file"
    for content, written in (("çay\n", "çay\n".encode()), (b"\r\n\x00", b"\r\n\x00")):
        write_whole(path, content)
        assert path.read_bytes() == written
    write_json(path, {"a": [1, None]})
    assert path.read_text() == '{"a": [1, null]}'
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_what_was_written_as_the_process_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "old")

    def fail(handle):
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
