import stat

import pytest

from ivme.whole_folder import whole_folder


def test_a_folder_takes_its_place_whole_and_an_older_one_makes_way(tmp_path):
    target = tmp_path / "new" / "model"
    for content in ("one", "two"):
        with whole_folder(target) as draft:
            (draft / content).write_text(content)
            assert not (target / content).exists()
        assert [path.name for path in target.iterdir()] == [content]
    assert list(target.parent.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_where_the_block_fails_the_old_folder_stays_and_no_draft_is_left(tmp_path):
    target = tmp_path / "model"
    with whole_folder(target) as draft:
        (draft / "file").write_text("old")

    def replace_it():
        with whole_folder(target) as draft:
            (draft / "file").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_it()
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
