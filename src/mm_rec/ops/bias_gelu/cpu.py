"""gelu(x + bias) on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops.rows import as_rows
from mm_rec_scan_cpu import _native


def forward(x: Tensor, bias: Tensor) -> Tensor:
    """Return gelu(x + bias) [..., C] in the dtype of x."""
    y = torch.empty(x.shape, dtype=x.dtype)
    threads = torch.get_num_threads()
    _native.bias_gelu(as_rows(x), bias.contiguous(), y.view(-1, x.shape[-1]), threads)
    return y


def backward(y_gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and bias."""
    x_gradient = torch.empty(x.shape, dtype=x.dtype)
    bias_gradient = torch.empty(len(bias), dtype=torch.float32)
    _native.bias_gelu_backward(
        as_rows(y_gradient),
        as_rows(x),
        bias.contiguous(),
        x_gradient.view(-1, x.shape[-1]),
        bias_gradient,
        torch.get_num_threads(),
    )
    return x_gradient, bias_gradient
