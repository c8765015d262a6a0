"""What the server knows of an ensemble before its members are loaded."""

import json
import shutil
from pathlib import Path

import pytest

from ivme.ensemble.ensemble_folder import REPORTS
from ivme.ensemble.manifest import write_manifest
from ivme.serve.configuration import ServeConfig
from ivme.serve.ensemble_model import EnsembleModel


@pytest.fixture
def folder(ensemble_folder: Path, tmp_path: Path) -> Path:
    """A copy of the ensemble, to be changed."""
    return Path(shutil.copytree(ensemble_folder, tmp_path / "model"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def open_model(folder: Path) -> EnsembleModel:
    write_manifest(folder, reports=REPORTS)
    return EnsembleModel(ServeConfig(folder=folder))


def test_a_text_has_no_more_tokens_than_its_members_read(folder: Path):
    model = open_model(folder)
    assert model.info()["max_tokens"] == 64
    assert model.estimate.tokens("word " * 1000) == 64


def test_a_plan_that_leaves_it_open_reads_what_its_model_takes(folder: Path):
    change(folder / "BERT" / "plan.json", max_length=None)
    change(folder / "BERT" / "interface.json", max_length=128)
    model = open_model(folder)
    assert model.info()["max_tokens"] == 128
    assert model.estimate.tokens("word " * 1000) == 128


def test_a_member_without_a_limit_reads_texts_whole(folder: Path):
    change(folder / "BERT" / "plan.json", max_length=None)
    change(folder / "BERT" / "interface.json", max_length=None)
    assert open_model(folder).info()["max_tokens"] is None


def test_a_member_whose_plan_is_damaged_says_nothing_of_lengths(folder: Path):
    (folder / "BERT" / "plan.json").write_text("{}")
    assert open_model(folder).info()["max_tokens"] is None
