"""RMS norm on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops.rows import as_rows
from mm_rec_scan_cpu import _native


def forward(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the norm [..., C] in `dtype`, and 1 / sqrt(mean(x^2) + eps) [...]."""
    rows = as_rows(x)
    y = torch.empty(rows.shape, dtype=dtype)
    rstd = torch.empty(len(rows), dtype=torch.float32)
    _native.rms_norm(rows, weight.contiguous(), eps, y, rstd, torch.get_num_threads())
    return y.view(x.shape), rstd.view(x.shape[:-1])


def backward(y_gradient: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and weight."""
    x_gradient = torch.empty(x.shape, dtype=x.dtype)
    weight_gradient = torch.empty(len(weight), dtype=torch.float32)
    _native.rms_norm_backward(
        as_rows(y_gradient),
        as_rows(x),
        weight.contiguous(),
        rstd.reshape(-1),
        x_gradient.view(-1, x.shape[-1]),
        weight_gradient,
        torch.get_num_threads(),
    )
    return x_gradient, weight_gradient
