"""The exact recurrence on the compiled kernels."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from mm_rec.ops import native
from mm_rec.ops.exact_recurrence.reference import Inputs, Weights
from mm_rec.ops.gated_recurrence import cpu as gated
from mm_rec_scan_cpu import _native


def forward(
    inputs: Inputs,
    h0: Tensor | None,
    weights: Weights,
    is_padding: Tensor | None,
    keeps_gates: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, the last state [B, D], and the gates.

    The gates are what the two sigmoids see, input gate first, [B, T, 2D]; empty unless kept.
    """
    z = inputs[3]
    if z.shape[1] == 1 and z.dtype == torch.float32:
        return _forward_step(inputs, h0, weights, is_padding, keeps_gates)
    h, h_last = native.empty_sequence(z), native.empty_state(z)
    gates = _empty_gates(z) if keeps_gates else z.new_empty(0)
    _native.exact_recurrence(
        *map(native.rows, inputs),
        native.state(h0),
        *map(native.state, weights),
        native.state(is_padding),
        h,
        h_last,
        *(gates.chunk(2, dim=-1) if keeps_gates else (None, None)),
        torch.get_num_threads(),
    )
    return h, h_last, gates


def _forward_step(
    inputs: Inputs,
    h0: Tensor | None,
    weights: Weights,
    is_padding: Tensor | None,
    keeps_gates: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `forward` does, for one step: it is not worth packing the weights for.

    Not for bfloat16, in which the gates would be rounded before they are used.
    """
    gamma_logit, context_logit, mdi_logit, z = inputs
    gate_weight, gate_bias, mdi_weight = weights
    state = torch.zeros_like(z[:, 0]) if h0 is None else h0
    gate = linear(state, gate_weight, gate_bias).unsqueeze(1)
    mdi = mdi_logit + linear(state, mdi_weight).unsqueeze(1)
    h, h_last = gated.forward((gamma_logit, context_logit, gate, mdi, z), h0, is_padding)
    gates = torch.cat([gate, mdi], dim=-1) if keeps_gates else z.new_empty(0)
    return h, h_last, gates


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Inputs,
    h0: Tensor | None,
    weights: Weights,
    is_padding: Tensor | None,
    h: Tensor,
    gates: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of gamma_logit, context_logit, z, the gates and h0."""
    gamma_logit, context_logit, _, z = map(native.rows, inputs)
    gamma_gradient, context_gradient, z_gradient = (native.empty_sequence(z) for _ in range(3))
    gates_gradient, h0_gradient = _empty_gates(z), native.empty_state(z)
    input_gate_gradient, mdi_gradient = gates_gradient.chunk(2, dim=-1)
    _native.exact_recurrence_backward(
        native.rows(h_gradient),
        native.state(h_last_gradient),
        gamma_logit,
        context_logit,
        *gates.chunk(2, dim=-1),
        z,
        native.state(h0),
        native.state(weights[0]),
        native.state(weights[2]),
        native.state(is_padding),
        native.rows(h),
        gamma_gradient,
        context_gradient,
        input_gate_gradient,
        mdi_gradient,
        z_gradient,
        h0_gradient,
        torch.get_num_threads(),
    )
    return gamma_gradient, context_gradient, z_gradient, gates_gradient, h0_gradient


def _empty_gates(z: Tensor) -> Tensor:
    batch, steps, width = z.shape
    return torch.empty(batch, steps, 2 * width, dtype=z.dtype)
