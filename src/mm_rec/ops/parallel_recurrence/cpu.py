"""The parallel recurrence on the compiled kernels, which read and write slices in place."""

import torch
from torch import Tensor

from mm_rec.ops.gated_recurrence import cpu as gated
from mm_rec.ops.parallel_recurrence.reference import PackedInputs, unpack


def forward(
    inputs: PackedInputs, h0: Tensor | None, is_padding: Tensor | None, input_scale: str
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    gamma, context, input_gate, mdi_input, z, mdi_state = unpack(inputs)
    parts = (gamma, context, input_gate, mdi_input, z)
    return gated.forward(parts, h0, is_padding, input_scale, mdi_state)


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: PackedInputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
) -> tuple[Tensor, ...]:
    """Return the gradients of the four inputs and of h0."""
    gamma, context, gates, z = (torch.empty(value.shape, dtype=value.dtype) for value in inputs)
    width = z.shape[-1]
    # What the kernel does not write: rows that no step reads.
    gamma[:, 0] = 0
    z[:, 0] = 0
    gates[:, 0, 2 * width :] = 0
    gates[:, -1, : 2 * width] = 0
    packed = (gamma, context, gates, z)
    h0_gradient = gated.fill_gradients(
        h_gradient, h_last_gradient, unpack(inputs), h0, is_padding, h, input_scale, unpack(packed)
    )
    return *packed, h0_gradient
