"""The linear recurrence step by step, in float64 where float64 is given."""

import torch
from torch import Tensor

from mm_rec.ops.checks import state_dtype


def forward(a: Tensor, b: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of a, and the last state [B, D]."""
    dtype = state_dtype(a)
    scales, shifts = a.to(dtype), b.to(dtype)
    state = torch.zeros_like(scales[:, 0]) if h0 is None else h0
    h = torch.empty_like(scales, memory_format=torch.contiguous_format)
    for t in range(a.shape[1]):
        state = scales[:, t] * state + shifts[:, t]
        h[:, t] = state
    return h.to(a.dtype), state


def backward(
    h_gradient: Tensor, h_last_gradient: Tensor | None, a: Tensor, h: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and h0: g[t] = dh[t] + a[t+1] * g[t+1], db = g, da = g * h[t-1].

    An h0 of None counts as zeros.
    """
    dtype = state_dtype(a)
    scales, upper = a.to(dtype), h_gradient.to(dtype)
    first = torch.zeros_like(scales[:, 0]) if h0 is None else h0
    before = torch.cat([first.unsqueeze(1), h[:, :-1].to(dtype)], dim=1)
    carried = torch.zeros_like(first) if h_last_gradient is None else h_last_gradient.clone()
    g = torch.empty_like(scales, memory_format=torch.contiguous_format)
    for t in reversed(range(a.shape[1])):
        g[:, t] = upper[:, t] + carried
        carried = scales[:, t] * g[:, t]
    return (g * before).to(a.dtype), g.to(a.dtype), carried
