import pytest
import torch

from mm_rec.core.muon import Muon, _orthogonal
from mm_rec.core.projections import set_hem
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
