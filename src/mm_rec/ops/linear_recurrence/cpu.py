"""The linear recurrence on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops import native
from mm_rec_scan_cpu import _native


def forward(a: Tensor, b: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of a, and the last state [B, D]."""
    h, h_last = native.empty_sequence(a), native.empty_state(a)
    _native.linear_recurrence(
        native.rows(a), native.rows(b), native.state(h0), h, h_last, torch.get_num_threads()
    )
    return h, h_last


def backward(
    h_gradient: Tensor, h_last_gradient: Tensor | None, a: Tensor, h: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and h0."""
    a_gradient, b_gradient = native.empty_sequence(a), native.empty_sequence(a)
    h0_gradient = native.empty_state(a)
    _native.linear_recurrence_backward(
        native.rows(h_gradient),
        native.state(h_last_gradient),
        native.rows(a),
        native.rows(h),
        native.state(h0),
        a_gradient,
        b_gradient,
        h0_gradient,
        torch.get_num_threads(),
    )
    return a_gradient, b_gradient, h0_gradient
