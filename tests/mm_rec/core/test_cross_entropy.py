import pytest
import torch
from torch.nn.functional import cross_entropy

from mm_rec.core import cross_entropy as module
from mm_rec.core.cross_entropy import linear_cross_entropy


@pytest.mark.parametrize("rows_per_block", [1, 7, 1000])
def test_loss_and_gradients_are_those_of_all_logits_at_once(monkeypatch, rows_per_block):
    monkeypatch.setattr(module, "LOGITS_PER_BLOCK", rows_per_block * 13)
    torch.manual_seed(0)
    hidden = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(13, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(13, (50,))
    labels[::4] = -100
    loss = linear_cross_entropy(hidden, weight, labels)
    expected = cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * loss, (hidden, weight)),
        torch.autograd.grad(3 * expected, (hidden, weight)),
    )


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 1]))
    loss.backward()
    assert loss.isfinite()
    assert hidden.grad.isfinite().all()


def test_autocast_runs_the_products_in_bfloat16_and_sums_in_float32():
    torch.manual_seed(0)
    hidden = torch.randn(40, 32, requires_grad=True)
    weight = torch.randn(13, 32, requires_grad=True)
    labels = torch.randint(13, (40,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, labels)
    loss.backward()
    assert loss.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    expected = cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0.0)
