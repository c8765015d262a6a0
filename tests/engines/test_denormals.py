from collections.abc import Callable

import pytest
import torch

from ivme.engines.denormals import denormal_share
from ivme.engines.traps import find_model_traps
from ivme.models.loading import LoadedModel, load_model

TEXTS = ("Return the value.", "Raise an error where there is none.")
DENORMAL = 1e-40


def planted(change: Callable[[torch.nn.Module], object]) -> LoadedModel:
    model = load_model("preset:bert-tiny")
    with torch.no_grad():
        change(model.model)
    return model


def test_denormal_weights_are_named_with_their_tensor() -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    model = planted(lambda network: network.get_parameter(name).fill_(DENORMAL))
    (trap,) = find_model_traps(model)

    assert trap.name == "denormal weights"
    assert trap.found == f"100% of the weights of {name} are denormal"
    assert "set_flush_denormal" in trap.action


def test_denormal_activations_are_found_by_running_the_model() -> None:
    def shrink(network: torch.nn.Module) -> None:
        layer = network.get_submodule("bert.encoder.layer.0.attention.self.value")
        layer.weight.mul_(1e-38)
        layer.weight[layer.weight.abs() < torch.finfo(torch.float32).tiny] = 0
        layer.bias.fill_(DENORMAL)

    model = planted(shrink)

    assert "denormal activations" not in [trap.name for trap in find_model_traps(model)]
    assert "denormal activations" in [trap.name for trap in find_model_traps(model, TEXTS)]


@pytest.mark.parametrize("kind", ["classifier", "masked", "causal", "seq2seq", "embedding"])
def test_an_ordinary_model_has_no_traps(models: dict[str, LoadedModel], kind: str) -> None:
    assert find_model_traps(models[kind], TEXTS) == []
    assert not any(module._forward_hooks for module in models[kind].model.modules())


def test_shares_are_of_numbers_that_are_not_zero() -> None:
    assert denormal_share(torch.tensor([0.0, 1.0, -DENORMAL, DENORMAL])) == 0.5
    assert denormal_share(torch.zeros(10)) == 0.0
    assert denormal_share(torch.tensor([1, 2])) == 0.0
    assert denormal_share(torch.empty(0)) == 0.0
