import pytest
import torch

from ivme.engines import network_copies
from ivme.engines.network_copies import converted, weight_bytes, with_replacements
from ivme.errors import OutOfMemoryError
from ivme.models.loading import LoadedModel, load_model


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["classifier", "causal", "seq2seq"])
def test_a_converted_copy_is_as_if_loaded_so(
    models: dict[str, LoadedModel], kind: str, dtype: str
) -> None:
    """Layers that overflow in float16 stay in float32, as Transformers leaves them."""
    copy = converted(models[kind], dtype)
    loaded = load_model(models[kind].reference, dtype=dtype)

    ours, theirs = copy.model.state_dict(), loaded.model.state_dict()
    assert {name: weight.dtype for name, weight in ours.items()} == {
        name: weight.dtype for name, weight in theirs.items()
    }
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (copy.dtype, copy.weight_bytes) == (dtype, loaded.weight_bytes)


def test_the_loaded_model_is_not_touched(models: dict[str, LoadedModel]) -> None:
    model = models["seq2seq"]
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    converted(model, "bfloat16")

    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert weight_bytes(model.model) == model.weight_bytes


def test_weights_already_of_the_type_are_not_copied(models: dict[str, LoadedModel]) -> None:
    assert converted(models["causal"], "float32") is models["causal"]


def test_tied_weights_stay_tied(models: dict[str, LoadedModel]) -> None:
    network = converted(models["causal"], "bfloat16").model

    assert network.lm_head.weight is network.transformer.wte.weight


def test_what_is_not_replaced_is_shared(models: dict[str, LoadedModel]) -> None:
    model = models["classifier"]
    layer = model.model.classifier
    stand_in = torch.nn.Identity()
    copy = with_replacements(model, {id(layer): stand_in}).model

    assert copy.classifier is stand_in
    assert model.model.classifier is layer
    name = "bert.embeddings.word_embeddings.weight"
    assert copy.get_parameter(name) is model.model.get_parameter(name)


def test_a_copy_that_does_not_fit_says_so(
    models: dict[str, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_copies, "_convert", lambda *_: torch.empty(1 << 60))

    with pytest.raises(OutOfMemoryError, match="on cpu while it was converted to bfloat16"):
        converted(models["classifier"], "bfloat16")
