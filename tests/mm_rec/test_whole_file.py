import pytest

from mm_rec.whole_file import whole_file


def test_a_file_takes_its_place_whole(tmp_path):
    target = tmp_path / "file"
    for content in ("one", "two"):
        with whole_file(target) as draft:
            draft.write_text(content)
        assert target.read_text() == content
    assert list(tmp_path.iterdir()) == [target]


def test_where_writing_fails_the_old_file_stays_and_no_draft_is_left(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def replace_it():
        with whole_file(target) as draft:
            draft.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_it()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_is_not_there_is_found_out_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "none" / "file"):
        pytest.fail("it was worked for nothing")
