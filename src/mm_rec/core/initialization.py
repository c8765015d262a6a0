"""Initial weights: each linear layer carries how it starts, and one function draws it.

The functions of `transformers.initialization` leave weights alone that were loaded from a file.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init

# Initial time constants of the channels, in tokens: from fast to slow, spread log-uniformly.
SHORTEST_TIME_CONSTANT = 1.5
LONGEST_TIME_CONSTANT = 1000.0
GATE_LOGIT = 2.0  # both gates of the short-term state start mostly open
PRIORITY_LOGIT = -2.0  # little is written at first, so the memory's output starts small
CONTEXT_SHARE = 0.1  # of what a channel forgets at first, the part that the context decides


def starts_with(linear: nn.Linear, *, scale: float = 1.0, bias: Sequence[float] = ()) -> nn.Linear:
    """Return the layer, told how to start: weights times `scale`, and a bias for each output."""
    linear.initial_scale = scale  # type: ignore[assignment]
    linear.initial_bias = tuple(bias)  # type: ignore[assignment]
    return linear


def initialize_linear(linear: nn.Linear) -> None:
    """Draw the initial weight and bias of a linear layer."""
    scale = getattr(linear, "initial_scale", 1.0)
    init.normal_(linear.weight, std=scale / math.sqrt(3 * linear.in_features))
    if linear.bias is None:
        return
    bias = getattr(linear, "initial_bias", ()) or (0.0,) * linear.out_features
    init.copy_(linear.bias, torch.tensor(bias, dtype=linear.bias.dtype))


def decay_biases(width: int) -> tuple[list[float], list[float]]:
    """Return biases of the decay's input and context halves, for `width` channels.

    With them the time constants 1 / (1 - a) of the short-term state spread log-uniformly from
    SHORTEST_TIME_CONSTANT to LONGEST_TIME_CONSTANT, and the context's half is near 1.
    """
    gate = 1 / (1 + math.exp(-GATE_LOGIT))
    ratio = LONGEST_TIME_CONSTANT / SHORTEST_TIME_CONSTANT
    gamma_bias, context_bias = [], []
    for channel in range(width):
        time_constant = SHORTEST_TIME_CONSTANT * ratio ** (channel / max(1, width - 1))
        forget = 1 / (time_constant * gate)
        context = 1 - CONTEXT_SHARE * forget
        gamma_bias.append(_logit((1 - forget) / context))
        context_bias.append(_logit(context))
    return gamma_bias, context_bias


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
