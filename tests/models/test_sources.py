import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ivme.errors import ModelNotFoundError
from ivme.models.loading import load_model
from ivme.models.sources import hub_is_reachable, model_folder

Copy = Callable[[str], Path]


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody listens on: the hub cannot be reached, wherever the test runs."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put_into(cache: Path, source: Path) -> Path:
    """Lay a model folder into the hub's cache as organization/tiny, as a download does."""
    model = cache / "models--organization--tiny"
    snapshot = model / "snapshots" / ("0" * 40)
    shutil.copytree(source, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_an_unknown_hub_model_without_a_network_names_the_ways_to_work_offline(
    no_way_out: None, hub_cache: Path
) -> None:
    assert not hub_is_reachable()
    with pytest.raises(
        ModelNotFoundError, match=r"hub cannot be reached; .*preset:bert-tiny.*HF_HUB_OFFLINE=1"
    ):
        load_model("organization/tiny")


def test_a_name_that_the_hub_does_not_allow_is_not_found(no_way_out: None, hub_cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'a--b'"):
        load_model("a--b")


def test_offline_mode_is_honored(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE forbids to download it"):
        load_model("organization/tiny")


def test_a_model_in_the_hubs_cache_loads_without_a_network(
    no_way_out: None, hub_cache: Path, copy_of: Copy
) -> None:
    snapshot = put_into(hub_cache, copy_of("bert-tiny"))

    assert model_folder("organization/tiny") == snapshot
    assert load_model("organization/tiny").kind == "classifier"


def test_a_half_downloaded_model_is_not_taken_for_whole(
    no_way_out: None, hub_cache: Path, copy_of: Copy
) -> None:
    snapshot = put_into(hub_cache, copy_of("bert-tiny"))
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00002.safetensors")
    (snapshot / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", '
        '"b": "model-00002-of-00002.safetensors"}}'
    )

    with pytest.raises(ModelNotFoundError, match="local cache does not have it"):
        load_model("organization/tiny")


@pytest.mark.parametrize("reference", ["", "a/b/c", "/nowhere/at/all", "../up", "with space"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_not_looked_for(reference: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        model_folder(reference)
