"""One block of MM-Rec: projections, short-term state, long-term memory, feed-forward."""

import math
from typing import cast

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from mm_rec.blocks.memory_attention import MultiMemoryAttention
from mm_rec.configuration import MMRecConfig
from mm_rec.core.initialization import starts_with
from mm_rec.core.linear import FeedForward, Linear
from mm_rec.core.norm import RMSNorm
from mm_rec.core.projections import InputProjections
from mm_rec.core.recurrence import ShortTermRecurrence, last_before, shift
from mm_rec.core.uboo import PlanningLoss
from mm_rec.ops.gated_norm import gated_norm


class MMRecBlock(GradientCheckpointingLayer):
    """y = x + W_o(norm(h + context) * silu(e)); out = y + FFN(norm(y))."""

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__()
        width, ffn_dim = config.model_dim, cast(int, config.ffn_dim)
        # What the block adds at first is small enough for the sum over layers to keep its scale.
        small = 1 / math.sqrt(2 * config.num_layers)
        self.norm1 = RMSNorm(width, eps=config.norm_eps)
        self.hem = InputProjections(config)
        self.recurrence = ShortTermRecurrence(config)
        self.memory_attention = MultiMemoryAttention(config) if config.num_memories else None
        self.W_o = starts_with(Linear(width, width), scale=small)
        self.norm2 = RMSNorm(width, eps=config.norm_eps)
        self.ffn = FeedForward(
            Linear(width, ffn_dim),
            nn.GELU(),
            starts_with(Linear(ffn_dim, width), scale=small),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.is_exact = config.recurrence == "exact"
        self.uboo = PlanningLoss(config) if config.use_uboo else None

    def forward(
        self,
        x: Tensor,
        gate_input: Tensor,
        key: Tensor,
        hidden: Tensor,
        memory: Tensor,
        lengths: Tensor | None = None,
        is_padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return the output, the four tensors of the new state, and the planning loss's sum.

        x: [B, T, D]; gate_input, key, hidden, memory: a LayerState; lengths: [B] real tokens, which
        come first in each row; is_padding: [B, T], True behind them; both None without padding. The
        sum is None without UBOO. Tensors come and go one by one, as checkpointing needs them.
        """
        projected = self.hem(self.norm1(x))
        k, z = projected["k"], projected["z"]
        h, last_hidden = self.recurrence(z, k, gate_input, hidden, is_padding)
        context = None
        if self.memory_attention is not None:
            context, memory = self.memory_attention(h, projected, key, memory, lengths)
        mixed = gated_norm(h, context, projected["e"], self.norm1.eps)
        y = x + self.dropout(self.W_o(mixed))
        out = y + self.dropout(self.ffn(self.norm2(y)))
        last_gate_input = last_hidden if self.is_exact else last_before(z, gate_input, lengths)
        planning = None if self.uboo is None else self.uboo(shift(h, hidden), h, is_padding)
        return out, last_gate_input, last_before(k, key, lengths), last_hidden, memory, planning
