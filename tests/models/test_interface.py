import json
import shutil
from pathlib import Path

import pytest

from ivme.errors import UsageError
from ivme.models.interface import (
    FILE,
    TOKENIZER_FOLDER,
    ModelInterface,
    generation_ids,
    read_max_length,
)
from ivme.models.loading import LoadedModel, load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("preset:bert-tiny", kind="embedding")


@pytest.mark.parametrize("reader", ["transformers", "file"])
def test_what_was_saved_comes_back(model: LoadedModel, tmp_path: Path, reader: str) -> None:
    saved = ModelInterface.of(model)
    saved.save(tmp_path)

    loaded = ModelInterface.load(tmp_path, tokenizer=reader)

    for name in ("reference", "kind", "max_length", "labels", "pooling", "problem_type"):
        assert getattr(loaded, name) == getattr(model, name)
    assert loaded.generation == saved.generation
    assert loaded.content_hash == model.content_hash
    texts = ["Return the value.", "Raise an error, or nothing."]
    arguments = {"padding": "longest", "return_tensors": "np"}
    ours, theirs = loaded.tokenizer(texts, **arguments), model.tokenizer(texts, **arguments)
    assert {name: ours[name].tolist() for name in ours} == {
        name: theirs[name].tolist() for name in theirs
    }


def test_labels_come_back_in_order(tmp_path: Path) -> None:
    model = load_model("preset:bert-tiny")
    ModelInterface.of(model).save(tmp_path)

    assert ModelInterface.load(tmp_path).labels == model.labels
    assert len(model.labels) == 2


def test_generation_starts_and_ends_as_generate_does() -> None:
    model = load_model("preset:t5-tiny")

    ids = generation_ids(model)

    assert ids["decoder_start_token_id"] == model.model.generation_config.decoder_start_token_id
    assert ids["eos_token_id"] == model.model.generation_config.eos_token_id
    assert ids["decoder_start_token_id"] is not None
    model.model.generation_config.eos_token_id = [1, 2]
    assert generation_ids(model)["eos_token_id"] == [1, 2]


@pytest.mark.parametrize("damage", ["missing", "half", "another"])
def test_a_damaged_description_is_named(model: LoadedModel, tmp_path: Path, damage: str) -> None:
    ModelInterface.of(model).save(tmp_path)
    path = tmp_path / FILE
    if damage == "missing":
        path.unlink()
    elif damage == "half":
        path.write_text(path.read_text()[:40])
    else:
        path.write_text(json.dumps({"labels": []}))

    with pytest.raises(UsageError, match=r"interface.json does not describe a model"):
        ModelInterface.load(tmp_path)
    with pytest.raises(UsageError, match=r"interface.json does not describe a model"):
        read_max_length(tmp_path)


def test_the_most_tokens_are_read_without_the_tokenizer(model: LoadedModel, tmp_path: Path) -> None:
    ModelInterface.of(model).save(tmp_path)
    shutil.rmtree(tmp_path / TOKENIZER_FOLDER)
    assert read_max_length(tmp_path) == model.max_length == 512
