from dataclasses import replace

import pytest
import torch

from ivme.engines.prepacked_layers import PackedInt8Linear, PackedLinear, packed_layers
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.engines.transformers_engine import TransformersSession
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel, load_model

Models = dict[str, LoadedModel]


def prepare(model: LoadedModel, precision: str | None = None) -> TransformersSession:
    options = EngineOptions(precision=precision, new_tokens=3)
    return get_engine("prepacked").prepare(model, options)


@pytest.mark.parametrize("make", [PackedLinear, PackedInt8Linear])
def test_a_slice_with_gaps_between_its_rows_gives_the_same_product(make: type) -> None:
    """oneDNN would take its plain loops for it, a thousand times slower."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(6, 40, generator=generator)
    layer = make(torch.randn(8, 16, generator=generator), torch.randn(8, generator=generator))

    assert torch.equal(layer(wide[:, :16]), layer(wide[:, :16].contiguous()))


def test_rows_of_zeros_have_a_scale_too() -> None:
    layer = PackedInt8Linear(torch.zeros(4, 8), torch.arange(4.0))

    assert torch.equal(layer(torch.ones(1, 8)), torch.arange(4.0)[None])


@pytest.mark.parametrize("kind", ["classifier", "causal", "seq2seq"])
def test_every_linear_layer_is_packed(models: Models, kind: str) -> None:
    """Layers of GPT-2, which Transformers calls Conv1D, are linear ones too."""
    network = prepare(models[kind], "int8").model.model
    left = [type(one).__name__ for one in network.modules()]

    assert "Linear" not in left
    assert "Conv1D" not in left
    assert left.count("PackedInt8Linear") == len(packed_layers(models[kind].model, "int8"))


def test_int8_keeps_the_setting_of_the_process(models: Models) -> None:
    before = torch.backends.quantized.engine
    prepare(models["classifier"], "int8")

    assert torch.backends.quantized.engine == before


def test_int8_says_that_batches_share_a_scale(models: Models) -> None:
    assert (
        "an answer may depend on the other texts" in prepare(models["classifier"], "int8").notes[0]
    )


def test_weights_loaded_in_bfloat16_can_be_packed_in_any_precision(
    texts: tuple[str, ...],
) -> None:
    model = load_model("preset:bert-tiny", dtype="bfloat16")

    assert prepare(model).precision == "bfloat16"
    for precision in ("float32", "int8"):
        assert len(prepare(model, precision).predict(texts)) == len(texts)


def test_a_model_that_uses_its_layers_weights_itself_is_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = type(models["classifier"].model)

    def forward(self: torch.nn.Module, **_: object) -> torch.Tensor:
        return self.classifier.weight @ torch.ones(128)

    monkeypatch.setattr(network, "forward", forward)
    with pytest.raises(RefusedError, match=r"in its own code .*; use engine=transformers"):
        prepare(models["classifier"])


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(RefusedError, match="has no linear layers to pack"):
        prepare(load_model("preset:mm-rec-1m-char"))


@pytest.mark.parametrize(
    ("change", "precision", "message"),
    [
        ({"device": "cuda:0"}, None, "packs weights for processors, not for cuda:0"),
        (
            {"dtype": "float16"},
            None,
            "prepacked does not compute in 'float16'; expected one",
        ),
        ({}, "int4", "does not compute in 'int4'; expected one of float32, bfloat16, int8"),
    ],
)
def test_what_it_cannot_run_is_refused(
    models: Models, change: dict[str, str], precision: str | None, message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        prepare(replace(models["classifier"], **change), precision)


def test_a_torch_without_the_int8_library_is_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ivme.engines import prepacked_layers as layers

    monkeypatch.setattr(layers, "INT8_LIBRARY", "no-such-library")
    with pytest.raises(RefusedError, match=r"not by no-such-library; use engine=openvino:int8"):
        prepare(models["classifier"], "int8")
