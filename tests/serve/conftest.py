"""Plans and an ensemble to serve, with random weights and engines that start soon."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What runs a server, and the small ensemble beside the tests of ensembles, are imported by name.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "ensemble"))


def write_plan_of(
    folder: Path, model: str, *, kind: str | None = None, new_tokens: int = 16
) -> Path:
    from ivme.engines.batching import Batching
    from ivme.engines.protocol import EngineOptions
    from ivme.models.loading import load_model
    from ivme.tune.plan import write_plan
    from ivme.tune.variants import Variant

    write_plan(
        folder,
        model=load_model(model, kind=kind),
        variant=Variant(engine="openvino", precision="float32", threads=1, batching=Batching()),
        options=EngineOptions(new_tokens=new_tokens),
        evidence={},
    )
    return folder


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan_of(tmp_path_factory.mktemp("classifier") / "plan", "preset:bert-tiny")


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal") / "plan"
    return write_plan_of(folder, "preset:gpt2-tiny", new_tokens=100)


@pytest.fixture(scope="session")
def embedding_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedding") / "plan"
    return write_plan_of(folder, "preset:bert-tiny", kind="embedding")


@pytest.fixture(scope="session")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM

    from ivme.models.presets import preset_folder

    scratch, preset = tmp_path_factory.mktemp("masked"), preset_folder("bert-tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForMaskedLM(AutoConfig.from_pretrained(preset)).save_pretrained(scratch / "model")
    AutoTokenizer.from_pretrained(preset).save_pretrained(scratch / "model")
    return write_plan_of(scratch / "plan", str(scratch / "model"), kind="masked")


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of BERT, DRF, GBM and GLM."""
    from small_ensembles import write_random_plan, write_small_ensemble
    from styles import styled_texts

    from ivme.ensemble.ensemble_folder import REPORTS
    from ivme.ensemble.manifest import write_manifest
    from ivme.ensemble.trainers.settings import MemberSettings
    from ivme.ensemble.training import TabularSettings, train_tabular

    scratch = tmp_path_factory.mktemp("ensemble")
    labels = ("human", "machine")
    train_tabular(
        *styled_texts(300, labels),
        folder=scratch / "tabular",
        validation=styled_texts(100, labels, seed=1),
        settings=TabularSettings(sizes=MemberSettings(forest_trees=10, boosting_trees=10)),
    )
    folder = write_small_ensemble(scratch / "model", scratch / "tabular", scratch).path
    shutil.rmtree(folder / "BERT")
    write_random_plan(folder / "BERT", scratch / "BERT", engine="openvino")
    write_manifest(folder, reports=REPORTS)
    return folder


@pytest.fixture(scope="session")
def classifier_server(classifier_folder: Path) -> Iterator[object]:
    from servers import serving

    with serving(classifier_folder) as server:
        yield server
