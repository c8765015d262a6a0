"""The cumulative product in Triton: the linear recurrence with b = 0 from a state of ones."""

import torch
from torch import Tensor

from mm_rec.ops.linear_recurrence import triton


def forward(gamma: Tensor) -> tuple[Tensor, bool]:
    """Return the product [N, T, d], and whether every gamma lies in (0, 1]."""
    product, _ = triton.forward(gamma, torch.zeros_like(gamma), _ones(gamma))
    return product, bool(((gamma > 0) & (gamma <= 1)).all())


def backward(product_gradient: Tensor, gamma: Tensor, product: Tensor) -> Tensor:
    """Return the gradient of gamma."""
    return triton.backward(product_gradient, None, gamma, product, _ones(gamma))[0]


def _ones(gamma: Tensor) -> Tensor:
    return torch.ones_like(gamma[:, 0], dtype=torch.float32)
