"""The output gate on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops.rows import as_rows
from mm_rec_scan_cpu import _native


def forward(h: Tensor, context: Tensor | None, e: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the gated norm [..., C], and 1 / sqrt(mean square + eps) [...]."""
    out = torch.empty(h.shape, dtype=h.dtype)
    rstd = torch.empty(h.shape[:-1], dtype=torch.float32)
    _native.gated_norm(
        as_rows(h),
        None if context is None else as_rows(context),
        as_rows(e),
        eps,
        out.view(-1, h.shape[-1]),
        rstd.view(-1),
        torch.get_num_threads(),
    )
    return out, rstd


def backward(
    out_gradient: Tensor, h: Tensor, context: Tensor | None, e: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of h, which is that of context too, and of e."""
    h_gradient, e_gradient = (torch.empty(h.shape, dtype=h.dtype) for _ in range(2))
    _native.gated_norm_backward(
        as_rows(out_gradient),
        as_rows(h),
        None if context is None else as_rows(context),
        as_rows(e),
        rstd.reshape(-1),
        h_gradient.view(-1, h.shape[-1]),
        e_gradient.view(-1, h.shape[-1]),
        torch.get_num_threads(),
    )
    return h_gradient, e_gradient
