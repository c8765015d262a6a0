"""The output gate and its gradient by their formulas."""

import torch
from torch import Tensor
from torch.nn.functional import silu

from mm_rec.ops.rows import wide_dtype


def forward(h: Tensor, context: Tensor | None, e: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the gated norm [..., C], and 1 / sqrt(mean square + eps) [...]."""
    mixed, gate = _mix(h, context), e.to(wide_dtype(e))
    rstd = torch.rsqrt(mixed.square().mean(-1) + eps)
    return (mixed * rstd.unsqueeze(-1) * silu(gate)).to(h.dtype), rstd


def backward(
    out_gradient: Tensor, h: Tensor, context: Tensor | None, e: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of h, which is that of context too, and of e."""
    mixed, gate, rstd = _mix(h, context), e.to(wide_dtype(e)), rstd.unsqueeze(-1)
    slope, opening = out_gradient.to(mixed.dtype), torch.sigmoid(gate)
    gate_gradient = slope * mixed * rstd * opening * (1 + gate * (1 - opening))
    slope = slope * gate * opening
    share = (slope * mixed).mean(-1, keepdim=True) * rstd.square()
    return (rstd * (slope - mixed * share)).to(h.dtype), gate_gradient.to(e.dtype)


def _mix(h: Tensor, context: Tensor | None) -> Tensor:
    wide = h.to(wide_dtype(h))
    return wide if context is None else wide + context.to(wide.dtype)
