import pytest

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


def test_options_that_a_target_has_no_use_for_are_refused(tmp_path):
    (tmp_path / "step.py").write_text("")
    with pytest.raises(UsageError, match="--texts belongs to models"):
        find_target(str(tmp_path / "step.py"), texts="corpus.txt")
    with pytest.raises(UsageError, match=r"no file nowhere\.py; give a Python file"):
        find_target("nowhere.py")
