import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ivme.errors import ModelNotFoundError
from ivme.models import presets
from ivme.models.loading import load_model
from ivme.models.presets import MARKER, PRESETS, add_preset, find_preset, preset_folder

# What Transformers counts for the published models of these names and heads.
PARAMETERS = {
    "bert-base": 109_483_778,
    "bert-tiny": 4_386_178,
    "roberta-base": 124_647_170,
    "distilbert": 66_955_010,
    "gpt2": 124_439_808,
    "t5-small": 60_506_624,
}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> Path:
    """An empty cache folder of this test's own; the corpus is brought along."""
    from ivme.models.corpus import corpus_documents

    corpus_documents()
    shutil.copytree(shared_cache / "corpus", tmp_path / "corpus")
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_preset_has_the_parameters_of_the_model_it_is_named_after(name: str) -> None:
    import torch
    import transformers

    recipe = PRESETS[name]
    size = recipe.embedding_rows or recipe.vocabulary_size
    config = getattr(transformers, recipe.config_class)(**recipe.config, vocab_size=size)
    with torch.device("meta"):
        model = getattr(transformers, recipe.model_class)(config)

    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["bert-tiny", "gpt2-tiny", "t5-tiny"])
def test_a_preset_is_an_ordinary_model_folder(name: str) -> None:
    folder = preset_folder(f"preset:{name}")

    assert {"config.json", "model.safetensors", "tokenizer.json", MARKER} <= set(os.listdir(folder))


def test_a_preset_is_made_once() -> None:
    written = (preset_folder("bert-tiny") / MARKER).stat().st_mtime_ns

    assert (preset_folder("bert-tiny") / MARKER).stat().st_mtime_ns == written


@pytest.mark.parametrize("lost", [MARKER, "tokenizer.json"])
def test_a_half_made_preset_is_made_again(own_cache: Path, lost: str) -> None:
    folder = preset_folder("bert-tiny")
    (folder / lost).unlink()
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)

    assert preset_folder("bert-tiny") == folder
    assert load_model("preset:bert-tiny").parameters == PARAMETERS["bert-tiny"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_processes_make_the_same_preset_side_by_side(own_cache: Path) -> None:
    code = "from ivme.models.presets import preset_folder; print(preset_folder('bert-tiny'))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = {process.communicate()[0].strip() for process in both}

    assert [process.returncode for process in both] == [0, 0]
    assert len(folders) == 1
    assert os.listdir(own_cache / "presets") == [Path(folders.pop()).name]
    assert load_model("preset:bert-tiny").parameters == PARAMETERS["bert-tiny"]


def test_a_preset_made_again_has_the_same_content_whatever_the_seed_around_it(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        before = torch.get_rng_state()
        ours = load_model("preset:t5-tiny").content_hash
        assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setenv("IVME_CACHE_DIR", str(shared_cache))

    assert load_model("preset:t5-tiny").content_hash == ours


def test_a_changed_recipe_gives_another_folder() -> None:
    recipe = find_preset("bert-tiny")

    assert dataclasses.replace(recipe, seed=1).digest != recipe.digest


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelNotFoundError, match=r"no preset 'bert-huge'; .*preset:bert-tiny"):
        preset_folder("preset:bert-huge")


def test_a_recipe_can_be_added(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(presets, "PRESETS", dict(PRESETS))
    config = {**PRESETS["bert-tiny"].config, "num_labels": 5}
    add_preset(dataclasses.replace(PRESETS["bert-tiny"], name="bert-five", config=config))

    assert len(load_model("preset:bert-five").labels) == 5
