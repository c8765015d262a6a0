from dataclasses import replace
from importlib.util import find_spec

import pytest

from ivme.engines import bitsandbytes_engine
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel

Models = dict[str, LoadedModel]


def test_a_model_on_the_cpu_is_refused(models: Models) -> None:
    with pytest.raises(RefusedError, match="runs on CUDA devices, and the model is on cpu"):
        get_engine("bitsandbytes").prepare(models["causal"], EngineOptions())


def test_missing_packages_are_named_with_their_extra(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes_engine, "find_spec", lambda name: None)

    with pytest.raises(
        RefusedError, match=r"needs bitsandbytes and accelerate.*pip install 'ivme\[gpu\]'"
    ):
        get_engine("bitsandbytes").prepare(
            replace(models["causal"], device="cuda:0"), EngineOptions()
        )


def test_other_precisions_are_refused(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitsandbytes_engine, "find_spec", lambda name: object())

    with pytest.raises(RefusedError, match="does not compute in 'bfloat16'; expected one of int8"):
        get_engine("bitsandbytes").prepare(
            replace(models["causal"], device="cuda:0"), EngineOptions(precision="bfloat16")
        )


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantized_weights_answer(precision: str) -> None:
    import torch

    from ivme.models.loading import load_model

    if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
        pytest.skip("no CUDA device, or no bitsandbytes")

    model = load_model("preset:gpt2-tiny", device="cuda:0")
    options = EngineOptions(precision=precision, new_tokens=3)
    session = get_engine("bitsandbytes").prepare(model, options)

    assert session.precision == precision
    assert session.model.weight_bytes < model.weight_bytes
    assert session.predict(["a text"])[0].text is not None
