import pytest

from ivme.diagnose.mm_rec_settings import is_preset
from ivme.diagnose.targets import FILE, MM_REC, MODEL, find_target
from ivme.errors import UsageError


def test_presets_folders_and_files_are_told_apart(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"model_type": "mm_rec"}')
    (tmp_path / "step.py").write_text("")
    kinds = {
        name: find_target(name).kind
        for name in ("mm-rec-2m", "preset:mm-rec-2m", "bert-tiny", str(tmp_path / "run"))
    }
    assert list(kinds.values()) == [MM_REC, MM_REC, MODEL, MM_REC]
    assert find_target("bert-tiny").reference == "preset:bert-tiny"
    assert find_target(str(tmp_path / "step.py")).kind == FILE


def test_a_folder_comes_before_the_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mm-rec-2m"
    folder.mkdir()
    assert find_target("preset:mm-rec-2m").reference == "mm-rec-2m"
    assert find_target("mm-rec-2m").kind == MODEL  # with nothing of MM-Rec in it
    (folder / "config.json").write_text('{"model_type": "mm_rec"}')
    target = find_target("mm-rec-2m")
    assert (target.kind, target.reference) == (MM_REC, str(folder))
    assert not is_preset(target)
    (folder / "config.json").unlink()
    (folder / "step-00000007").mkdir()
    with pytest.raises(UsageError, match="mm-rec-2m: none of its checkpoints is whole"):
        find_target("mm-rec-2m")


def test_options_that_a_target_has_no_use_for_are_refused(tmp_path):
    (tmp_path / "step.py").write_text("")
    with pytest.raises(UsageError, match="--texts belongs to models"):
        find_target(str(tmp_path / "step.py"), texts="corpus.txt")
    with pytest.raises(UsageError, match=r"no file nowhere\.py; give a Python file"):
        find_target("nowhere.py")
