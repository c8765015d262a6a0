"""The exact recurrence in plain PyTorch, one step at a time: the truth for faster forms."""

import torch
from torch import Tensor
from torch.nn.functional import linear

DECAY_MARGIN = 1e-6  # the decay stays in [margin, 1 - margin]


def exact_recurrence(
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return every short-term state, and the last one, with gates that see the state itself.

    With gamma = sigmoid(gamma_logit) sigmoid(context_logit), clamped:
        i[t] = sigmoid(gate_weight h[t-1] + gate_bias)
        g[t] = sigmoid(mdi_logit[t] + mdi_weight h[t-1])
        h[t] = (1 - (1 - gamma[t]) g[t]) h[t-1] + (1 - gamma[t]) g[t] i[t] z[t]

    gamma_logit, context_logit, mdi_logit, z: [B, T, D]; mdi_logit holds the part of the MDI gate
    that sees the input, bias included. h0, gate_bias: [B, D], [D]; gate_weight, mdi_weight: [D, D].
    is_padding: [B, T] of bool or None; where it is True, the state stays. Returns h [B, T, D] and
    the last state [B, D].
    """
    gamma = torch.sigmoid(gamma_logit) * torch.sigmoid(context_logit)
    forget = 1 - gamma.clamp(DECAY_MARGIN, 1 - DECAY_MARGIN)
    if is_padding is not None:
        forget = forget.masked_fill(is_padding.unsqueeze(-1), 0)
    h, states = h0, []
    for t in range(z.shape[1]):
        input_gate = torch.sigmoid(linear(h, gate_weight, gate_bias))
        update = forget[:, t] * torch.sigmoid(mdi_logit[:, t] + linear(h, mdi_weight))
        h = (1 - update) * h + update * input_gate * z[:, t]
        states.append(h)
    return torch.stack(states, dim=1), h
