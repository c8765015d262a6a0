"""The matrix memory by torch's own products: chunks in parallel, a short scan between them.

Inside a chunk the reads are a masked product of queries and keys; what earlier chunks wrote is
read from the state at the chunk's start. Work grows linearly with the length. It is what runs in
float64 and on devices without a kernel.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad, rms_norm

from mm_rec.ops.memory.reference import matrix_memory

CHUNK_LENGTH = 64  # tokens; products of this size beat both shorter and longer ones on CPUs
GROUP_LENGTH = 32  # chunks whose states are found by one product


def read_chunks(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the normalized reads [B, M, T, D] and the last memory; see `chunked_memory`."""
    heads, width = memory.shape[2:4]
    query, key, value = (
        tensor.unflatten(-1, (heads, width))
        for tensor in (query, write_keys(priority_logit, key, first_key), value)
    )
    if query.shape[1] > 1 or lengths is not None:
        read, last = chunked_matrix_memory(query, key, value, memory, time_scales, lengths)
    else:
        wide, key, value = (tensor.to(memory.dtype) for tensor in (query, key, value))
        read, last = matrix_memory(wide, key, value, memory, time_scales)
    return normalized(read.to(query.dtype)).flatten(3), last


def write_keys(priority_logit: Tensor, keys: Tensor, first_key: Tensor) -> Tensor:
    """Return sigmoid(p[t]) k[t-1], the keys under which the values are written, [B, T, D].

    The key is the previous token's, so that a pair "key value" binds in one layer.
    """
    before = torch.cat([first_key.unsqueeze(1).to(keys.dtype), keys[:, :-1]], dim=1)
    return torch.sigmoid(priority_logit) * before


def normalized(reads: Tensor) -> Tensor:
    """Return the reads [..., d], each divided by sqrt(mean(read^2) + d).

    Scores count in units of sqrt(d), and a sum under one unit is left as small as it is: an
    untrained memory adds little, a strong one is bounded.
    """
    return rms_norm(reads, (reads.shape[-1],), eps=float(reads.shape[-1]))


def chunked_matrix_memory(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what every query reads from each bank, and the last memory.

    query, key, value: [B, T, H, d]; memory: [B, M, H, d, d]; time_scales: M time constants in
    tokens; lengths: [B] tokens that count in each row, which come first, or None for all T.
    Returns [B, M, T, H, d] and [B, M, H, d, d]. Reads past `lengths` mean nothing.
    """
    steps = query.shape[1]
    chunk = min(CHUNK_LENGTH, steps)
    count = -(-steps // chunk)
    if lengths is None:
        lengths = torch.full((1,), steps, device=query.device)
    else:
        inside = torch.arange(steps, device=query.device) < lengths.unsqueeze(-1)
        key = key * inside.view(*inside.shape, 1, 1)
    query, key, value = (_in_chunks(tensor, chunk, count) for tensor in (query, key, value))
    starts = torch.arange(count, device=query.device) * chunk
    written = (lengths.unsqueeze(-1) - starts).clamp(0, chunk)  # [1 or B, N] tokens in each chunk
    scores = query @ key.transpose(-1, -2)  # [B, N, H, C, C], shared by the banks
    reads, memories = [], []
    for bank, time_scale in enumerate(time_scales):
        read, last = _read_bank(scores, query, key, value, memory[:, bank], written, time_scale)
        reads.append(read)
        memories.append(last)
    read = torch.stack(reads, dim=1)  # [B, M, N, H, C, d]
    read = read.transpose(3, 4).flatten(2, 3)[:, :, :steps]
    return read, torch.stack(memories, dim=1)


def _in_chunks(tensor: Tensor, chunk: int, count: int) -> Tensor:
    """Return [B, N, H, C, d] from [B, T, H, d], with zeros behind the last token."""
    missing = chunk * count - tensor.shape[1]
    if missing:
        tensor = pad(tensor, (0, 0, 0, 0, 0, missing))
    return tensor.unflatten(1, (count, chunk)).transpose(2, 3)


def _read_bank(
    scores: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: Tensor,
    written: Tensor,
    time_scale: float,
) -> tuple[Tensor, Tensor]:
    """Return the reads [B, N, H, C, d] of one bank and its last memory [B, H, d, d]."""
    places = torch.arange(query.shape[-2], device=query.device, dtype=memory.dtype)
    age = places.unsqueeze(-1) - places
    fade = torch.exp(-age.clamp(min=0) / time_scale) * (age >= 0)
    # How much of a write is left at the chunk's end; writes behind `written` are zero already.
    left = torch.exp(-(written.unsqueeze(-1) - 1 - places).clamp(min=0) / time_scale)
    writes = (key * left[:, :, None, :, None].to(key.dtype)).transpose(-1, -2) @ value
    log_decay = written.to(memory.dtype) / time_scale
    before, last = _scan_chunks(memory, writes.to(memory.dtype), log_decay)
    aged_query = query * torch.exp(-(places + 1) / time_scale).unsqueeze(-1).to(query.dtype)
    read = (scores * fade.to(scores.dtype)) @ value + aged_query @ before.to(query.dtype)
    return read, last


def _scan_chunks(memory: Tensor, writes: Tensor, log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """Return the memory before each chunk [B, N, H, d, d], and after the last one.

    memory: [B, H, d, d]; writes: [B, N, H, d, d]; log_decay: [1 or B, N], negative logarithm of
    what a chunk leaves of the memory before it. Groups of chunks are one product each.
    """
    before = []
    for start in range(0, writes.shape[1], GROUP_LENGTH):
        group = slice(start, start + GROUP_LENGTH)
        sources = torch.cat([memory.unsqueeze(1), writes[:, group]], dim=1)
        states = _decay_matrix(log_decay[:, group]) @ sources.flatten(2)
        states = states.unflatten(2, memory.shape[1:])
        before.append(states[:, :-1])
        memory = states[:, -1]
    return (before[0] if len(before) == 1 else torch.cat(before, dim=1)), memory


def _decay_matrix(log_decay: Tensor) -> Tensor:
    """Return [B, N + 1, N + 1]: what is left of source j in the state after i chunks."""
    age = pad(log_decay.cumsum(-1), (1, 0))
    age = age.unsqueeze(-1) - age.unsqueeze(-2)
    return torch.exp(-age).tril()
