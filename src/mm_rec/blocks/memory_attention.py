"""Multi-memory attention: the short-term state asks every memory bank, and sums the answers."""

import torch
from torch import Tensor, nn

from mm_rec.configuration import MMRecConfig
from mm_rec.core.linear import Linear
from mm_rec.ops.memory import chunked_memory


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
        width = hidden.shape[-1]
        priority = projected["p"]
        # A gate narrower than the keys holds for width / pe_dim neighboring channels.
        if priority.shape[-1] < width:
            priority = priority.repeat_interleave(width // priority.shape[-1], dim=-1)
        reads, memory = chunked_memory(
            self.W_q(hidden) + projected["q"],
            priority,
            projected["k"],
            first_key,
            projected["v"],
            memory,
            self.time_scales,
            lengths,
        )
        return self._sum_banks(reads), memory

    def _sum_banks(self, reads: Tensor) -> Tensor:
        """Return the context [B, T, D] from the reads [B, M, T, D]."""
        if self.bank_weights is None:
            return reads.squeeze(1)
        heads = reads.unflatten(-1, (self.num_heads, -1))
        weights = self.bank_weights.to(reads.dtype)
        return torch.einsum("bmthd,mh->bthd", heads, weights).flatten(2)
