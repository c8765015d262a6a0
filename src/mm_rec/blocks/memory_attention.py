"""Multi-memory attention: the short-term state asks every memory bank, and sums the answers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from mm_rec.configuration import MMRecConfig
from mm_rec.core.linear import Linear
from mm_rec.core.memory import read_memory, write_keys


class MultiMemoryAttention(nn.Module):
    """Reads `num_memories` banks of different time scales with one query per head.

    Several banks are weighted by learned numbers, one a bank and head; one bank has none.
    """

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.time_scales = list(config.memory_time_scales or [])
        self.W_q = Linear(config.model_dim, config.model_dim)
        banks = config.num_memories
        self.bank_weights = (
            nn.Parameter(torch.empty(banks, config.num_heads)) if banks > 1 else None
        )

    def forward(
        self,
        hidden: Tensor,
        projected: dict[str, Tensor],
        first_key: Tensor,
        memory: Tensor,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the context [B, T, D] and the last memory [B, M, H, d, d].

        hidden: [B, T, D], the short-term state; projected: q, k, v [B, T, D] and the priority p;
        first_key: the key before the first token, [B, D]; lengths: [B] tokens that count, or None.
        """
        query = self._heads(self.W_q(hidden) + projected["q"])
        key = self._heads(write_keys(projected["p"], projected["k"], first_key))
        value = self._heads(projected["v"])
        reads, memory = read_memory(query, key, value, memory, self.time_scales, lengths)
        # Scores count in units of sqrt(d), and a sum under one unit is left as small as it is:
        # an untrained memory adds little, a strong one is bounded.
        reads = rms_norm(reads, (reads.shape[-1],), eps=float(reads.shape[-1]))
        return self._sum_banks(reads).flatten(2), memory

    def _heads(self, tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (self.num_heads, -1))

    def _sum_banks(self, reads: Tensor) -> Tensor:
        """Return [B, T, H, d] from [B, M, T, H, d]."""
        if self.bank_weights is None:
            return reads[:, 0]
        return torch.einsum("bmthd,mh->bthd", reads, self.bank_weights.to(reads.dtype))
