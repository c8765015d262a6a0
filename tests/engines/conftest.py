"""Loaded models to run, one of each kind, and texts of mixed length."""

from pathlib import Path

import pytest

from ivme.models.loading import LoadedModel, load_model
from ivme.models.presets import preset_folder

KINDS = ("classifier", "masked", "causal", "seq2seq", "embedding")


@pytest.fixture(scope="session")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model with random weights: no preset is one."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM

    source = preset_folder("bert-tiny")
    folder = tmp_path_factory.mktemp("masked")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForMaskedLM(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(masked_folder: Path) -> dict[str, LoadedModel]:
    return {
        "classifier": load_model("preset:bert-tiny"),
        "masked": load_model(str(masked_folder)),
        "causal": load_model("preset:gpt2-tiny"),
        "seq2seq": load_model("preset:t5-tiny"),
        "embedding": load_model("preset:bert-tiny", kind="embedding"),
    }


@pytest.fixture(scope="session")
def texts() -> tuple[str, ...]:
    return (
        "Return the name of the file that was opened.",
        "Raise an error.",
        "The iterator stops when the underlying stream has no more lines, or when close is called "
        "by another thread while this one still waits for the next line to come in.",
        "A dictionary of values.",
        "Note that this method does not copy the list: changes to it are seen by the caller.",
    )
