"""The matrix memory one step at a time, as it is defined: for decoding, and the truth for tests."""

import torch
from torch import Tensor


def memory_step(
    query: Tensor, key: Tensor, value: Tensor, memory: Tensor, decay: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what one query reads from each bank after one write, and the new memory.

    S[t] = decay S[t-1] + key value^T; read[t] = S[t]^T query.
    query, key, value: [B, H, d]; memory: [B, M, H, d, d], keys by values; decay: [M] or
    [B, M, 1, 1, 1]. Returns [B, M, H, d] and the memory.
    """
    decay = decay.view(-1, 1, 1, 1) if decay.ndim == 1 else decay
    memory = decay * memory + (key.unsqueeze(-1) * value.unsqueeze(-2)).unsqueeze(1)
    return torch.einsum("bhk,bmhkv->bmhv", query, memory), memory


def matrix_memory(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what every query reads from each bank, and the last memory.

    query, key, value: [B, T, H, d]; memory: [B, M, H, d, d]; time_scales: M time constants in
    tokens, decay = exp(-1 / time scale); mask: [B, T] of bool or None: where it is False, nothing
    is written and nothing decays. Returns [B, M, T, H, d] and [B, M, H, d, d].
    """
    decay = torch.exp(-1 / torch.tensor(time_scales, dtype=memory.dtype, device=memory.device))
    present = torch.ones_like(key[..., 0, 0]) if mask is None else mask.to(key.dtype)
    reads = []
    for t in range(query.shape[1]):
        here = present[:, t].view(-1, 1, 1, 1, 1)
        step_decay = here * decay.view(1, -1, 1, 1, 1) + (1 - here)
        read, memory = memory_step(
            query[:, t], key[:, t] * here.view(-1, 1, 1), value[:, t], memory, step_decay
        )
        reads.append(read)
    return torch.stack(reads, dim=2), memory
