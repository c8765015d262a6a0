"""The gated recurrence on the compiled kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mm_rec.ops import native
from mm_rec.ops.gated_recurrence.reference import Inputs
from mm_rec_scan_cpu import _native


def forward(
    inputs: Inputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str = "convex",
    mdi_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D].

    mdi_state: [B, T, D], added to mdi_logit in float32; None: nothing is.
    """
    h, h_last = native.empty_sequence(inputs[4]), native.empty_state(inputs[4])
    _native.gated_recurrence(
        *map(native.rows, inputs),
        native.state(h0),
        native.state(is_padding),
        h,
        h_last,
        torch.get_num_threads(),
        None if mdi_state is None else native.rows(mdi_state),
        input_scale == "variance",
    )
    return h, h_last


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Inputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str = "convex",
) -> tuple[Tensor, ...]:
    """Return the gradients of the five inputs and of h0."""
    gradients = [native.empty_sequence(value) for value in inputs]
    h0_gradient = fill_gradients(
        h_gradient, h_last_gradient, inputs, h0, is_padding, h, input_scale, gradients
    )
    return *gradients, h0_gradient


def fill_gradients(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Sequence[Tensor],
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    gradients: Sequence[Tensor],
) -> Tensor:
    """Return the gradient of h0; fill `gradients`, of any strides, with those of the inputs.

    inputs, gradients: the five sequences, and mdi_state behind them where there is one.
    """
    has_mdi_state = len(inputs) > 5
    h0_gradient = native.empty_state(h)
    _native.gated_recurrence_backward(
        native.rows(h_gradient),
        native.state(h_last_gradient),
        *map(native.rows, inputs[:5]),
        native.state(h0),
        native.state(is_padding),
        native.rows(h),
        *gradients[:5],
        h0_gradient,
        torch.get_num_threads(),
        native.rows(inputs[5]) if has_mdi_state else None,
        gradients[5] if has_mdi_state else None,
        input_scale == "variance",
    )
    return h0_gradient
