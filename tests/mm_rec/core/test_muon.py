import copy

import pytest
import torch

from mm_rec.core.muon import Muon, _orthogonal, _pieces
from mm_rec.core.projections import set_hem
from mm_rec.core.quantization import prepare_qat
from mm_rec.errors import ConfigError
from mm_rec.training.schedule import parameter_groups

RATE = 1e-2


def make(model):
    return Muon(model, parameter_groups(model, 0.1), RATE, (0.9, 0.99))


def train(model, optimizer, ids, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (32, 8)])
def test_singular_values_end_near_one(shape):
    torch.manual_seed(0)
    matrices = [torch.randn(shape) * scale for scale in (1e-3, 1.0, 1e3)]
    for update in _orthogonal(matrices):
        assert update.shape == shape
        values = torch.linalg.svdvals(update)
        assert 0.5 < values.min() <= values.max() < 1.3


def test_no_gradient_is_no_update():
    [update] = _orthogonal([torch.zeros(4, 4)])
    assert torch.equal(update, torch.zeros(4, 4))


def test_maps_get_momentum_and_all_else_gets_moments(make_model, make_ids):
    model = make_model()
    optimizer = make(model)
    train(model, optimizer, make_ids(2, 20))
    for name, weight in model.named_parameters():
        is_map = ".layers." in name and weight.ndim == 2 and name.endswith(".weight")
        assert set(optimizer.state[weight]) == (
            {"momentum"} if is_map else {"step", "exp_avg", "exp_avg_sq"}
        )


def test_fused_projections_learn_as_separate_ones_do(make_model, make_ids):
    fused, separate = make_model(), make_model()
    separate.load_state_dict(fused.state_dict())
    set_hem(separate, False)
    ids = make_ids(2, 40)
    for model in (fused, separate):
        train(model, make(model), ids)
    set_hem(separate, True)
    changed = separate.state_dict()
    for name, weight in fused.state_dict().items():
        assert torch.allclose(weight, changed[name], atol=2e-2 * RATE), name


@pytest.mark.parametrize("use_hem", [True, False])
def test_a_model_prepared_for_int8_has_the_same_maps(make_model, make_ids, use_hem):
    model = make_model(use_hem=use_hem)
    plain = list(_pieces(model))
    prepare_qat(model)
    prepared = list(_pieces(model))
    assert len(prepared) == len(plain)
    for one, other in zip(prepared, plain, strict=True):
        assert one.weight is other.weight
        assert (one.rows, one.columns) == (other.rows, other.columns)
    optimizer = make(model)
    train(model, optimizer, make_ids(2, 20))
    assert all(set(optimizer.state[one.weight]) == {"momentum"} for one in plain)


def test_a_model_without_maps_is_refused():
    with pytest.raises(ConfigError, match="expected a model with linear maps in its layers"):
        make(torch.nn.Linear(2, 2))


def test_a_loaded_state_goes_on_as_if_never_interrupted(make_model, make_ids):
    whole, resumed = make_model(), make_model()
    ids, first = make_ids(2, 20), make(whole)
    train(whole, first, ids, steps=2)
    resumed.load_state_dict(whole.state_dict())
    second = make(resumed)
    train(resumed, second, ids)  # what it learned by itself is replaced
    resumed.load_state_dict(whole.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for optimizer in (first, second):
        for group in optimizer.param_groups:
            group["lr"] = RATE / 2
    train(whole, first, ids, steps=2)
    train(resumed, second, ids, steps=2)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_the_rate_of_every_group_is_followed(make_model, make_ids):
    model = make_model()
    optimizer = make(model)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, make_ids(2, 20))
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_a_text_is_learned_by_heart(make_model, make_ids):
    model = make_model()
    ids = make_ids(2, 40)
    optimizer = make(model)
    first = train(model, optimizer, ids)
    assert train(model, optimizer, ids, steps=40) < 0.5 * first
