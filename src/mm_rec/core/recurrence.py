"""The short-term state: decay from input and context, two gates, and a convex recurrence."""

from typing import cast

import torch
from torch import Tensor, nn

from mm_rec.configuration import MMRecConfig
from mm_rec.core.initialization import GATE_LOGIT, decay_biases, starts_with
from mm_rec.core.linear import Linear, linear_gelu
from mm_rec.ops.exact_recurrence import exact_recurrence
from mm_rec.ops.linear import linear
from mm_rec.ops.parallel_recurrence import parallel_recurrence


class DecayLogit(nn.Module):
    """A bottleneck D -> inner -> D with GELU: the low-rank half of the decay (DPG)."""

    def __init__(self, model_dim: int, inner_dim: int, bias: list[float]) -> None:
        super().__init__()
        self.down = Linear(model_dim, inner_dim)
        self.up = starts_with(Linear(inner_dim, model_dim), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit [B, T, D]."""
        return self.up(linear_gelu(self.down, x))


class ShortTermRecurrence(nn.Module):
    """h[t] = a[t] h[t-1] + b[t], with a = 1 - (1 - gamma) g and b = (1 - a) i z.

    Or, as `input_scale` says, b = sqrt(1 - a^2) i z.
    """

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__()
        width = config.model_dim
        self.is_exact = config.recurrence == "exact"
        self.input_scale = config.input_scale
        gamma_bias, context_bias = decay_biases(width)
        inner = cast(int, config.inner_dim)
        self.W_gamma = DecayLogit(width, inner, gamma_bias)
        self.W_context = DecayLogit(width, inner, context_bias)
        self.W_g = starts_with(Linear(width, width), bias=[GATE_LOGIT] * width)
        self.W_m = starts_with(Linear(2 * width, width), bias=[GATE_LOGIT] * width)

    def forward(
        self, z: Tensor, k: Tensor, gate_input: Tensor, hidden: Tensor, is_padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return h after every token [B, T, D] and after the last one that counts [B, D].

        z, k: [B, T, D]; gate_input: z before the first token, [B, D] (unused where the recurrence
        is exact); hidden: h before it, [B, D]; is_padding: [B, T] or None, True leaves h as it is.
        """
        see_input, see_state = self.W_m.weight.split(z.shape[-1], dim=1)
        # Slices of the fused product; several products read them, each would copy them anew.
        context_logit = self.W_context(k.contiguous())
        if self.is_exact:
            z = z.contiguous()
            mdi_logit = linear(z, see_input, self.W_m.bias)
            return exact_recurrence(
                self.W_gamma(z), context_logit, mdi_logit, z, hidden,
                self.W_g.weight, self.W_g.bias, see_state, is_padding,
            )  # fmt: skip
        # Behind the z before the first token: every map of a previous z is a map of these.
        z = torch.cat([gate_input.unsqueeze(1).to(z.dtype), z], dim=1)
        weight = torch.cat([self.W_g.weight, see_state, see_input])
        bias = torch.cat([self.W_g.bias, torch.zeros_like(self.W_m.bias), self.W_m.bias])
        return parallel_recurrence(
            self.W_gamma(z), context_logit, linear(z, weight, bias), z, hidden, is_padding,
            input_scale=self.input_scale,
        )  # fmt: skip


def shift(sequence: Tensor, first: Tensor) -> Tensor:
    """Return the sequence [B, T, D] one step later, beginning with `first` [B, D]."""
    return torch.cat([first.unsqueeze(1).to(sequence.dtype), sequence[:, :-1]], dim=1)


def last_before(sequence: Tensor, first: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last element that counts [B, D], or `first` where none does."""
    if lengths is None:
        return sequence[:, -1].clone()  # a view would keep the whole sequence alive
    rows = torch.arange(sequence.shape[0], device=sequence.device)
    last = sequence[rows, (lengths - 1).clamp(min=0)]
    return torch.where((lengths > 0).unsqueeze(-1), last, first.to(sequence.dtype))
