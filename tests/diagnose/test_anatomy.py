import pytest
import torch

from ivme.diagnose.anatomy import measure_operators, measure_phases
from ivme.diagnose.memory_kinds import measure_kinds
from ivme.diagnose.operators import OperatorWatch
from ivme.diagnose.phases import PhaseWatch
from ivme.diagnose.training_step import TrainingStep


@pytest.fixture
def step():
    model = torch.nn.Linear(32, 16)
    optimizer = torch.optim.AdamW(model.parameters())

    def run():
        loss = model(torch.rand(64, 32)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return TrainingStep(run=run, tokens=64, items=64, model=model)


def test_operations_and_bytes_of_a_product_are_counted():
    left, right = torch.rand(8, 4), torch.rand(4, 2)
    with OperatorWatch(PhaseWatch()) as watch:
        left @ right
        left.t()
    product, view = watch.operators["other", "aten::mm"], watch.operators["other", "aten::t"]
    assert product.flops == 2 * 8 * 4 * 2
    assert product.moved_bytes == 4 * (8 * 4 + 4 * 2 + 8 * 2)
    assert view.moved_bytes == 0


def test_backward_takes_the_weight_product_of_forward_and_is_found_on_its_line(step):
    found = measure_operators(step, 2)
    flops = {}
    for row in found["operators"]:
        flops[row["phase"]] = flops.get(row["phase"], 0) + row["flops"]
    assert flops["forward"] == 2 * 64 * 32 * 16
    assert flops["backward"] == 2 * 64 * 32 * 16  # the input needs no gradient
    lines = {row["line"].split(",")[0].rsplit("/", 1)[-1]: row for row in found["lines"]}
    line = next(row for name, row in lines.items() if name.startswith("test_anatomy.py"))
    assert line["forward_s"] > 0
    assert any(row["backward_s"] > 0 for row in lines.values())
    assert found["watching_cost"] > 0
    assert not torch.is_anomaly_enabled()


def test_memory_is_told_by_kind(step):
    weights = 4 * (32 * 16 + 16)
    step.run()
    found = measure_kinds(step)
    assert found["weights"] == found["gradients"] == weights
    assert found["parameters"] == 32 * 16 + 16
    assert found["optimizer_state"] == pytest.approx(2 * weights, abs=16)  # and its step counts
    assert found["activations"] >= 4 * 64 * 32  # the input, for the weight's gradient


def test_phases_of_plain_and_watched_steps_are_as_many(step):
    found = measure_phases(step, 3)
    assert len(found["step_s"]) == len(found["plain_step_s"]) == 3
    assert found["tokenize_item_s"] == []
