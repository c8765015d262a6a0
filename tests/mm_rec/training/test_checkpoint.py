import json
import resource
import shutil
from pathlib import Path

import pytest
import torch

from mm_rec.errors import CheckpointError
from mm_rec.training.checkpoint import list_checkpoints, load_newest, save_checkpoint
from mm_rec.training.files import MANIFEST, find_damage

STATE = {"step": 1, "rates": [0.1, float("inf")], "moments": {"w": {"mean": torch.arange(5.0)}}}


def write_model(folder):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(3)}, folder / "model.safetensors")


@pytest.fixture
def run_folder(tmp_path):
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, {**STATE, "step": step}, write_model, keep=3)
    return tmp_path


def test_what_was_saved_is_read_back_exactly(run_folder):
    found = load_newest(run_folder, pytest.fail)
    assert found.folder.name == "step-00000030"
    assert torch.equal(found.weights["w"], torch.ones(3))
    assert torch.equal(found.state["moments"]["w"]["mean"], torch.arange(5.0))
    assert found.state["rates"] == [0.1, float("inf")]


def flip_a_bit(folder):
    path = folder / "training.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


DAMAGES = {
    "training.safetensors does not match its checksum": flip_a_bit,
    "model.safetensors does not match its checksum": cut,
    "training.json is missing": lambda folder: (folder / "training.json").unlink(),
    "manifest.json is missing": lambda folder: (folder / MANIFEST).unlink(),
    "it cannot be read": lambda folder: (folder / MANIFEST).write_text('{"sha'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(run_folder, damage):
    DAMAGES[damage](run_folder / "step-00000030")
    told = []
    assert load_newest(run_folder, told.append).state["step"] == 20
    (warning,) = told
    assert f"step-00000030 is damaged: {damage}" in warning


def test_without_any_whole_checkpoint_there_is_an_error(run_folder):
    for folder in list_checkpoints(run_folder):
        cut(folder)
    told = []
    with pytest.raises(CheckpointError, match="holds no checkpoint that can be read"):
        load_newest(run_folder, told.append)
    assert len(told) == 3


def test_a_named_checkpoint_is_taken_even_if_there_are_later_ones(run_folder):
    assert load_newest(run_folder / "step-00000020", pytest.fail).state["step"] == 20


def test_a_copy_of_a_checkpoint_under_another_name_is_taken(run_folder):
    best = shutil.copytree(run_folder / "step-00000020", run_folder / "best")
    found = load_newest(best, pytest.fail)
    assert (found.folder, found.step) == (best, 20)


def test_a_damaged_copy_is_told_and_the_checkpoint_of_its_step_used(run_folder):
    best = shutil.copytree(run_folder / "step-00000020", run_folder / "best")
    cut(best)
    told = []
    assert load_newest(best, told.append).folder.name == "step-00000020"
    assert "best is damaged: model.safetensors does not match its checksum" in told[0]


def test_inside_a_checkpoint_its_folder_has_its_name_all_the_same(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder / "step-00000020")
    found = load_newest(Path("."), pytest.fail)
    assert (found.folder, found.step) == (run_folder.resolve() / "step-00000020", 20)


@pytest.mark.parametrize("name", ["step-lr-test", "step-", "step-²"])
def test_a_runs_folder_may_be_called_like_a_checkpoint(run_folder, tmp_path_factory, name):
    folder = shutil.copytree(run_folder, tmp_path_factory.mktemp("runs") / name)
    assert load_newest(folder, pytest.fail).step == 30
    assert list_checkpoints(folder.parent) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"step": null}'])
def test_a_copy_that_cannot_tell_its_step_is_refused(run_folder, text):
    best = shutil.copytree(run_folder / "step-00000020", run_folder / "best")
    (best / "training.json").write_text(text)
    told = []
    with pytest.raises(CheckpointError, match="best holds no checkpoint that can be read"):
        load_newest(best, told.append)
    assert "training.json does not match its checksum" in told[0]


def test_a_checkpoint_of_another_version_is_refused(run_folder):
    path = run_folder / "step-00000030" / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    (run_folder / "step-00000030" / MANIFEST).write_text(json.dumps({"sha256": {}}))
    with pytest.raises(CheckpointError, match=r"written in mm_rec.checkpoint 99; expected .* 1"):
        load_newest(run_folder, pytest.fail)


def test_a_full_disk_is_told_and_costs_no_earlier_checkpoint(run_folder):
    state = {"noise": torch.zeros(100_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 40 in .*step-00000030 is kept: make room"):
            save_checkpoint(run_folder, 40, state, write_model, keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [find_damage(folder) for folder in list_checkpoints(run_folder)] == [None] * 3
    assert len(list(run_folder.iterdir())) == 3


def test_a_checkpoint_replaces_one_of_the_same_step(run_folder):
    save_checkpoint(run_folder, 30, {"step": "new"}, write_model, keep=3)
    assert load_newest(run_folder, pytest.fail).state == {"step": "new"}
    assert len(list(run_folder.iterdir())) == 3


def test_drafts_of_killed_runs_are_no_checkpoints(run_folder):
    draft = run_folder / ".draft-step-00000040-abcd"
    (run_folder / "step-00000030").rename(draft)
    assert load_newest(run_folder, pytest.fail).state["step"] == 20
    save_checkpoint(run_folder, 50, STATE, write_model, keep=3)
    assert not draft.exists()
