"""What the ops on rows promise beyond what every op does."""

import math

import pytest
import torch
from torch.nn import functional

import mm_rec_scan_cpu
from mm_rec.errors import ConfigError, ImplementationError, ShapeError
from mm_rec.ops.bias_gelu import bias_gelu
from mm_rec.ops.cross_entropy import cross_entropy_
from mm_rec.ops.gated_norm import gated_norm
from mm_rec.ops.rms_norm import rms_norm


def test_the_norm_is_torchs_own():
    x, weight = torch.randn(3, 5, 37, dtype=torch.float64), torch.randn(37, dtype=torch.float64)
    expected = functional.rms_norm(x, (37,), weight, 0.1)
    torch.testing.assert_close(rms_norm(x, weight, 0.1), expected)
    torch.testing.assert_close(rms_norm(x.float(), weight.float(), 0.1), expected.float())


def test_under_autocast_the_norm_is_in_the_dtype_of_products():
    x, weight = torch.randn(4, 16), torch.ones(16)
    with torch.autocast("cpu", torch.bfloat16):
        assert rms_norm(x, weight, 1e-6).dtype == torch.bfloat16
    assert rms_norm(x, weight, 1e-6).dtype == torch.float32


def test_a_gated_norm_without_a_context_is_that_of_zeros(run_with_gradients):
    h, e = torch.randn(2, 7, 37), torch.randn(2, 7, 37)
    alone = run_with_gradients(lambda h, e: gated_norm(h, None, e, 0.01), [h, e])
    beside = run_with_gradients(lambda h, e: gated_norm(h, torch.zeros_like(h), e, 0.01), [h, e])
    assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))


@pytest.mark.parametrize("width", [1, 16, 37])
def test_gelu_and_its_slope_are_right_everywhere(width, forced_instruction_set):
    x = torch.linspace(-12, 12, 40_000 * width).view(-1, width)
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        for bias in (torch.zeros(width), torch.full((width,), 0.25)):
            seen = x.clone().requires_grad_()
            true = (x.double() + bias).requires_grad_()
            y, expected = bias_gelu(seen, bias), functional.gelu(true)
            y.sum().backward()
            expected.sum().backward()
            torch.testing.assert_close(y.double(), expected, rtol=2e-5, atol=1e-6)
            torch.testing.assert_close(seen.grad.double(), true.grad, rtol=2e-5, atol=2e-6)


def test_gelu_of_huge_values_is_finite_and_of_nan_is_nan():
    x = torch.tensor([[-1e30, -100.0, 100.0, 1e30, torch.nan]])
    y = bias_gelu(x, torch.zeros(5))
    torch.testing.assert_close(y[0, 1:4], torch.tensor([0.0, 100.0, 1e30]))
    assert y[0, :4].isfinite().all()
    assert y[0, 4].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("width", [1, 7, 16, 301])
def test_losses_and_slopes_are_those_of_torch(dtype, width):
    logits = (5 * torch.randn(9, width)).to(dtype)
    labels = torch.randint(width, (9,))
    labels[3] = -100
    true = logits.detach().double().clone().requires_grad_()
    expected = functional.cross_entropy(true, labels, reduction="none")
    (slope,) = torch.autograd.grad(expected.sum(), true)
    kept = logits.clone()
    torch.testing.assert_close(
        cross_entropy_(kept, labels, False).double(), expected.detach(), rtol=1e-5, atol=1e-5
    )
    losses = cross_entropy_(logits, labels, True)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    coarse = (
        {"rtol": 1e-2, "atol": 1e-4} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    )
    torch.testing.assert_close(logits.double(), slope, **coarse)


def test_logits_far_apart_give_finite_losses():
    logits = torch.tensor([[1e30, -1e30, 0.0], [-torch.inf, 0.0, 0.0]])
    losses = cross_entropy_(logits, torch.tensor([0, 2]), True)
    torch.testing.assert_close(losses, torch.tensor([0.0, math.log(2)]))
    assert logits.isfinite().all()


def test_a_label_beyond_the_logits_is_refused():
    with pytest.raises(ValueError, match="labels must be below the channels"):
        cross_entropy_(torch.zeros(2, 4), torch.tensor([0, 4]), True)


def test_what_does_not_fit_is_named():
    x = torch.ones(2, 3, 8)
    with pytest.raises(ShapeError, match=r"weight has shape \(7,\); expected \(8,\), one for each"):
        rms_norm(x, torch.ones(7), 1e-6)
    with pytest.raises(ShapeError, match=r"bias has shape \(8, 1\); expected \(8,\)"):
        bias_gelu(x, torch.ones(8, 1))
    with pytest.raises(ShapeError, match=r"e has shape \(2, 3, 4\); expected \(2, 3, 8\)"):
        gated_norm(x, None, x[..., :4], 1e-6)
    with pytest.raises(ShapeError, match=r"x has shape \(0, 8\); expected \[\.\.\., C\]"):
        bias_gelu(x[0, :0], torch.ones(8))
    with pytest.raises(ConfigError, match=r"x has dtype torch\.int64"):
        rms_norm(x.long(), torch.ones(8), 1e-6)
    with pytest.raises(ImplementationError, match="expected one of reference, cpu, or None"):
        rms_norm(x, torch.ones(8), 1e-6, implementation="triton")
