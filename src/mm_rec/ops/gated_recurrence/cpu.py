"""The gated recurrence on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops import native
from mm_rec.ops.gated_recurrence.reference import Inputs
from mm_rec_scan_cpu import _native


def forward(inputs: Inputs, h0: Tensor | None, is_padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    h, h_last = native.empty_sequence(inputs[4]), native.empty_state(inputs[4])
    _native.gated_recurrence(
        *map(native.rows, inputs),
        native.state(h0),
        native.state(is_padding),
        h,
        h_last,
        torch.get_num_threads(),
    )
    return h, h_last


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Inputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients of the five inputs and of h0."""
    gradients = [native.empty_sequence(value) for value in inputs]
    h0_gradient = native.empty_state(h)
    _native.gated_recurrence_backward(
        native.rows(h_gradient),
        native.state(h_last_gradient),
        *map(native.rows, inputs),
        native.state(h0),
        native.state(is_padding),
        native.rows(h),
        *gradients,
        h0_gradient,
        torch.get_num_threads(),
    )
    return *gradients, h0_gradient
