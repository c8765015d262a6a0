"""The exact recurrence by its formulas, one step at a time: the truth for faster forms."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from mm_rec.ops.checks import state_dtype

# gamma_logit, context_logit, mdi_logit, z: [B, T, D].
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
# gate_weight [D, D], gate_bias [D], mdi_weight [D, D].
Weights = tuple[Tensor, Tensor, Tensor]
DECAY_MARGIN = 1e-6  # the decay stays in [margin, 1 - margin]


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
    dtype = inputs[3].dtype
    gamma_logit, context_logit, mdi_logit, z = _widen(inputs)
    gate_weight, gate_bias, mdi_weight = weights
    forget = 1 - _decay(gamma_logit, context_logit)
    state = torch.zeros_like(z[:, 0]) if h0 is None else h0
    states, gates = [], []
    for t in range(z.shape[1]):
        gate = linear(state, gate_weight, gate_bias)
        mdi = mdi_logit[:, t] + linear(state, mdi_weight)
        update = forget[:, t] * torch.sigmoid(mdi)
        step = (1 - update) * state + update * torch.sigmoid(gate) * z[:, t]
        state = step if is_padding is None else torch.where(is_padding[:, t, None], state, step)
        states.append(state)
        gates.append(torch.cat([gate, mdi], dim=-1))
    kept = _where_real(torch.stack(gates, dim=1), is_padding) if keeps_gates else z.new_empty(0)
    return torch.stack(states, dim=1).to(dtype), state.clone(), kept.to(dtype)


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
    """Return the gradients of gamma_logit, context_logit, z, the gates and h0.

    That of the gates, [B, T, 2D], holds the one of mdi_logit in its second half, and is all that
    the gradients of the weights need beside h.
    """
    dtype = inputs[3].dtype
    gamma_logit, context_logit, _, z = _widen(inputs)
    gamma = _decay(gamma_logit, context_logit)
    gate, mdi = torch.sigmoid(gates.to(z.dtype)).chunk(2, dim=-1)
    update = _where_real((1 - gamma) * mdi, is_padding)
    before = states_before(h.to(z.dtype), h0)
    # The gradients of all by that of the state after the step.
    by_update = _where_real(gate * z - before, is_padding)
    by_gates = torch.cat(
        [_where_real(update * z * gate * (1 - gate), is_padding), by_update * update * (1 - mdi)],
        dim=-1,
    )
    carried = torch.zeros_like(z[:, 0]) if h_last_gradient is None else h_last_gradient
    both = torch.cat([weights[0], weights[2]])
    upper = []
    for t in reversed(range(z.shape[1])):
        upper.append(h_gradient[:, t] + carried)
        carried = (1 - update[:, t]) * upper[-1]
        carried = carried + (by_gates[:, t] * upper[-1].repeat(1, 2)) @ both
    gradient = torch.stack(upper[::-1], dim=1)
    is_inside = (gamma > DECAY_MARGIN) & (gamma < 1 - DECAY_MARGIN)
    by_gamma = torch.where(is_inside, -by_update * mdi * gamma, 0)
    gradients = (
        gradient * _where_real(by_gamma * torch.sigmoid(-gamma_logit), is_padding),
        gradient * _where_real(by_gamma * torch.sigmoid(-context_logit), is_padding),
        gradient * update * gate,
        gradient.repeat(1, 1, 2) * by_gates,
    )
    gamma_gradient, context_gradient, z_gradient, gates_gradient = (v.to(dtype) for v in gradients)
    return gamma_gradient, context_gradient, z_gradient, gates_gradient, carried


def states_before(h: Tensor, h0: Tensor | None) -> Tensor:
    """Return h[t-1] for every t, [B, T, D], in the dtype of h."""
    first = torch.zeros_like(h[:, :1]) if h0 is None else h0.unsqueeze(1).to(h.dtype)
    return torch.cat([first, h[:, :-1]], dim=1)


def _decay(gamma_logit: Tensor, context_logit: Tensor) -> Tensor:
    gamma = torch.sigmoid(gamma_logit) * torch.sigmoid(context_logit)
    return gamma.clamp(DECAY_MARGIN, 1 - DECAY_MARGIN)


def _where_real(value: Tensor, is_padding: Tensor | None) -> Tensor:
    """Return `value`, zero at padding: also where it is not a number there."""
    return value if is_padding is None else value.masked_fill(is_padding.unsqueeze(-1), 0)


def _widen(inputs: Inputs) -> Inputs:
    first, second, third, fourth = (value.to(state_dtype(value)) for value in inputs)
    return first, second, third, fourth
