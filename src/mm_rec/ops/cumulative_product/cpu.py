"""The cumulative product on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops import native
from mm_rec_scan_cpu import _native


def forward(gamma: Tensor) -> tuple[Tensor, bool]:
    """Return the product [N, T, d], and whether every gamma lies in (0, 1]."""
    product = native.empty_sequence(gamma)
    return product, _native.cumulative_product(native.rows(gamma), product, torch.get_num_threads())


def backward(product_gradient: Tensor, gamma: Tensor, product: Tensor) -> Tensor:
    """Return the gradient of gamma."""
    gamma_gradient = native.empty_sequence(gamma)
    _native.cumulative_product_backward(
        native.rows(product_gradient),
        native.rows(gamma),
        native.rows(product),
        gamma_gradient,
        torch.get_num_threads(),
    )
    return gamma_gradient
