"""The gated recurrence by its formulas: gates, then the linear recurrence."""

from typing import NamedTuple

import torch
from torch import Tensor

from mm_rec.ops.checks import state_dtype
from mm_rec.ops.linear_recurrence import reference

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
GAMMA_MARGIN = 1e-6
SMALLEST_SCALE = 1e-30  # to divide by: at padding the weight is 0


class Gates(NamedTuple):
    """The gates at every step, [B, T, D]."""

    gamma: Tensor
    input_gate: Tensor
    mdi: Tensor
    weight: Tensor


def forward(
    inputs: Inputs, h0: Tensor | None, is_padding: Tensor | None, input_scale: str = "convex"
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    dtype = inputs[4].dtype
    inputs = _widen(inputs)
    gates, z = open_gates(inputs, is_padding), inputs[4]
    scale, _ = scale_input(gates.weight, input_scale)
    shift = _where_real(scale * gates.input_gate * z, is_padding)
    h, h_last = reference.forward(1 - gates.weight, shift, h0)
    return h.to(dtype), h_last


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
    dtype = inputs[4].dtype
    inputs = _widen(inputs)
    gamma_logit, context_logit, _, _, z = inputs
    gamma, input_gate, mdi, weight = open_gates(inputs, is_padding)
    scale, scale_slope = scale_input(weight, input_scale)
    kept_gradient, shift_gradient, h0_gradient = reference.backward(
        h_gradient.to(z.dtype), h_last_gradient, 1 - weight, h.to(z.dtype), h0
    )
    weight_gradient = shift_gradient * scale_slope * input_gate * z - kept_gradient
    is_inside = (gamma > GAMMA_MARGIN) & (gamma < 1 - GAMMA_MARGIN)
    gamma_gradient = torch.where(is_inside, -weight_gradient * mdi * gamma, 0)
    gradients = (
        gamma_gradient * torch.sigmoid(-gamma_logit),
        gamma_gradient * torch.sigmoid(-context_logit),
        shift_gradient * scale * z * input_gate * (1 - input_gate),
        weight_gradient * weight * (1 - mdi),
        shift_gradient * scale * input_gate,
    )
    return *(_where_real(value, is_padding).to(dtype) for value in gradients), h0_gradient


def open_gates(inputs: Inputs, is_padding: Tensor | None) -> Gates:
    """Return the gates; the weight is 0 at padding."""
    gamma_logit, context_logit, input_gate_logit, mdi_logit, _ = inputs
    gamma = torch.sigmoid(gamma_logit) * torch.sigmoid(context_logit)
    gamma = gamma.clamp(GAMMA_MARGIN, 1 - GAMMA_MARGIN)
    mdi = torch.sigmoid(mdi_logit)
    weight = _where_real((1 - gamma) * mdi, is_padding)
    return Gates(gamma, torch.sigmoid(input_gate_logit), mdi, weight)


def scale_input(weight: Tensor, input_scale: str) -> tuple[Tensor, Tensor]:
    """Return what i * z is multiplied by, and the slope of that by the weight."""
    if input_scale == "convex":
        return weight, torch.ones_like(weight)
    scale = (weight * (2 - weight)).sqrt()
    return scale, (1 - weight) / scale.clamp_min(SMALLEST_SCALE)


def _where_real(value: Tensor, is_padding: Tensor | None) -> Tensor:
    """Return `value`, zero at padding: also where it is not a number there."""
    return value if is_padding is None else value.masked_fill(is_padding.unsqueeze(-1), 0)


def _widen(inputs: Inputs) -> Inputs:
    first, second, third, fourth, fifth = (value.to(state_dtype(value)) for value in inputs)
    return first, second, third, fourth, fifth
