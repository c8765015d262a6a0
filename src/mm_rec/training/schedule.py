"""What is decayed, and how the learning rate goes over a run; knows no optimizer."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from mm_rec.errors import ConfigError

SCHEDULES = ("cosine", "constant", "warmup-stable-decay")
DECAY_SHARE = 0.2  # of the steps, at the end of "warmup-stable-decay"

# From a step, counted from 0, to the share of the peak learning rate that it runs with.
Schedule = Callable[[int], float]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups of trainable parameters: matrices decay, and nothing else does.

    Biases, norms and the weights that sum memory banks are left alone: zero is not where they rest.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and not name.endswith("bank_weights")
            (matrices if is_matrix else others).append(parameter)
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def make_schedule(kind: str, warmup_steps: int, max_steps: int, min_share: float) -> Schedule:
    """Return the share of the peak learning rate for each step.

    Args:
        kind: "cosine" falls from the peak to min_share; "constant" stays at the peak;
            "warmup-stable-decay" stays, and falls in a straight line over the last DECAY_SHARE of
            the steps.
        warmup_steps: The first steps rise in a straight line to the peak.
        max_steps: The last step, max_steps - 1, has min_share; later ones keep it.
        min_share: Of the peak, in [0, 1]; unused where the rate is constant.

    Raises:
        ConfigError: For a kind or number that is not allowed.
    """
    if kind not in SCHEDULES:
        raise ConfigError(f"schedule={kind!r}; expected one of {', '.join(SCHEDULES)}.")
    if max_steps < 1:
        raise ConfigError(f"max_steps={max_steps}; expected at least 1.")
    if not 0 <= warmup_steps <= max_steps:
        raise ConfigError(f"warmup_steps={warmup_steps}; expected 0 to max_steps={max_steps}.")
    if not 0 <= min_share <= 1:
        raise ConfigError(f"min_share={min_share}; expected 0 to 1.")
    stable = 0.0
    if kind == "warmup-stable-decay":
        stable = max(0.0, max_steps * (1 - DECAY_SHARE) - warmup_steps)
    falling_steps = max(1.0, max_steps - 1 - warmup_steps - stable)

    def share(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        fallen = min(1.0, max(0.0, (step - warmup_steps - stable) / falling_steps))
        if kind == "constant":
            return 1.0
        if kind == "cosine":
            fallen = (1 - math.cos(math.pi * fallen)) / 2
        return 1 - (1 - min_share) * fallen

    return share
