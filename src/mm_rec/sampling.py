"""Picking the next token from logits: greedy, or drawn from what temperature, k and p leave."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mm_rec.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token.
        top_k: Draw from so many of the most likely tokens; None: from all.
        top_p: Draw from the fewest most likely tokens that hold this probability; None: from all.

    Raises ConfigError, naming the argument, for a value that is not allowed.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature={self.temperature!r}; expected a number from 0 up.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k!r}; expected at least 1, or None for all.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p!r}; expected a number in (0, 1], or None.")


def pick_tokens(
    logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None
) -> Tensor:
    """Return the ids [B] of the next tokens, from logits [B, V]."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    if sampling.top_k is None and sampling.top_p is None:
        return _draw(logits.float() / sampling.temperature, generator)
    kept = logits.shape[-1] if sampling.top_k is None else min(sampling.top_k, logits.shape[-1])
    likely, ids = logits.float().topk(kept, dim=-1)
    likely = likely / sampling.temperature
    if sampling.top_p is not None:
        probabilities = likely.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        likely = likely.masked_fill(before >= sampling.top_p, -torch.inf)
    return ids.gather(-1, _draw(likely, generator).unsqueeze(-1)).squeeze(-1)


def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return one index for each row."""
    return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
