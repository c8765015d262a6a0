"""RMS norm and its gradient by their formulas."""

import torch
from torch import Tensor


def forward(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the norm [..., C] in `dtype`, and 1 / sqrt(mean(x^2) + eps) [...]."""
    wide = x.to(weight.dtype)
    rstd = torch.rsqrt(wide.square().mean(-1) + eps)
    return (wide * rstd.unsqueeze(-1) * weight).to(dtype, copy=True), rstd


def backward(y_gradient: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and weight."""
    slope, wide, rstd = y_gradient.to(weight.dtype), x.to(weight.dtype), rstd.unsqueeze(-1)
    weight_gradient = (slope * wide * rstd).flatten(0, -2).sum(0)
    slope = slope * weight
    share = (slope * wide).mean(-1, keepdim=True) * rstd.square()
    return (rstd * (slope - wide * share)).to(x.dtype), weight_gradient
