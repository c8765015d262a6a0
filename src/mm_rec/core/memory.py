"""The long-term memory of a layer: what is written, and which form reads it."""

import torch
from torch import Tensor

from mm_rec.core.recurrence import shift
from mm_rec.ops.memory.chunked import chunked_matrix_memory
from mm_rec.ops.memory.reference import memory_step


def write_keys(priority_logit: Tensor, keys: Tensor, first_key: Tensor) -> Tensor:
    """Return sigmoid(p[t]) k[t-1], the keys under which the values are written, [B, T, D].

    The key is the previous token's, so that a pair "key value" binds in one layer. A priority
    narrower than the keys holds for D / pe_dim neighboring channels.
    """
    gate = torch.sigmoid(priority_logit)
    repeats = keys.shape[-1] // gate.shape[-1]
    if repeats > 1:
        gate = gate.repeat_interleave(repeats, dim=-1)
    return gate * shift(keys, first_key)


def read_memory(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return what each query reads from each bank [B, M, T, H, d], and the last memory.

    query, key, value: [B, T, H, d]; memory: [B, M, H, d, d]; lengths: [B] or None. One token is
    one step of the recurrence, more are matrix products over chunks; both agree.
    """
    if query.shape[1] > 1 or lengths is not None:
        return chunked_matrix_memory(query, key, value, memory, time_scales, lengths)
    decay = torch.exp(-1 / torch.tensor(time_scales, dtype=memory.dtype, device=memory.device))
    read, memory = memory_step(
        query[:, 0].to(memory.dtype),
        key[:, 0].to(memory.dtype),
        value[:, 0].to(memory.dtype),
        memory,
        decay,
    )
    return read.unsqueeze(2).to(query.dtype), memory
