import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ivme.models.corpus import corpus_documents
from ivme.models.loading import LoadedModel, load_model
from ivme.models.presets import MARKER, preset_folder

# The made-up engines beside the tests are imported by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    """A classifier with random weights."""
    return load_model("preset:bert-tiny")


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as if it had been trained for a step: its biases have moved."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("trained") / "model"
    shutil.copytree(preset_folder("bert-tiny"), folder)
    (folder / MARKER).unlink()
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith("bias"):
            weight += 0.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def trained_model(trained_folder: Path) -> LoadedModel:
    return load_model(str(trained_folder))


@pytest.fixture(scope="session")
def many_texts() -> Sequence[str]:
    return corpus_documents()[:1000]
