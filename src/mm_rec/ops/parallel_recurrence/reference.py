"""The parallel recurrence by its formulas: rows picked, then the gated recurrence."""

from types import ModuleType

import torch
from torch import Tensor

from mm_rec.ops.checks import state_dtype
from mm_rec.ops.gated_recurrence import reference as gated_reference
from mm_rec.ops.gated_recurrence.reference import Inputs

# gamma_logit, context_logit, gates, z.
PackedInputs = tuple[Tensor, Tensor, Tensor, Tensor]


def forward(
    inputs: PackedInputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str,
    gated: ModuleType = gated_reference,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    h, h_last = gated.forward(_gated_inputs(inputs), h0, is_padding, input_scale)
    return h.to(inputs[3].dtype), h_last


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: PackedInputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    gated: ModuleType = gated_reference,
) -> tuple[Tensor, ...]:
    """Return the gradients of the four inputs and of h0."""
    gated_inputs = _gated_inputs(inputs)
    *gradients, h0_gradient = gated.backward(
        h_gradient, h_last_gradient, gated_inputs, h0, is_padding, h, input_scale
    )
    packed = [torch.zeros_like(value, memory_format=torch.contiguous_format) for value in inputs]
    parts = unpack((packed[0], packed[1], packed[2], packed[3]))
    for part, gradient in zip(parts, (*gradients, gradients[3]), strict=True):
        part.copy_(gradient)
    return *packed, h0_gradient


def unpack(packed: PackedInputs) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return views [B, T, D]: the five inputs of the gated recurrence, and what mdi adds up."""
    gamma_logit, context_logit, gates, z = packed
    input_gate_logit, mdi_state, mdi_input = gates.chunk(3, dim=-1)
    return (
        gamma_logit[:, 1:],
        context_logit,
        input_gate_logit[:, :-1],
        mdi_input[:, 1:],
        z[:, 1:],
        mdi_state[:, :-1],
    )


def _gated_inputs(inputs: PackedInputs) -> Inputs:
    wide = state_dtype(inputs[3])
    gamma_logit, context_logit, input_gate_logit, mdi_input, z, mdi_state = (
        value.to(wide) for value in unpack(inputs)
    )
    return gamma_logit, context_logit, input_gate_logit, mdi_input + mdi_state, z
