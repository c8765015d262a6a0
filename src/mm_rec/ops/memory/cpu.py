"""The chunked matrix memory on the compiled kernels."""

import torch
from torch import Tensor

from mm_rec.ops import native
from mm_rec_scan_cpu import _native

# query, priority_logit, key: [B, T, D]; first_key: [B, D]; value: [B, T, D]; memory:
# [B, M, H, d, d].
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def forward(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the reads [B, M, T, D], the last memory, and what divided the reads.

    That is 1 / sqrt(mean(read^2) + d), [B, M, H, T]; reads behind `lengths` are zero.
    """
    (batch, steps, width), (_, banks, heads, _, _) = query.shape, memory.shape
    reads = torch.empty(batch, banks, steps, width, dtype=query.dtype)
    rstd = torch.empty(batch, banks, heads, steps)
    last = torch.empty(memory.shape)
    _native.chunked_memory(
        *_ready((query, priority_logit, key, first_key, value, memory)),
        time_scales,
        native.state(lengths),
        reads,
        rstd,
        last,
        torch.get_num_threads(),
    )
    return reads, last, rstd


def backward(
    reads_gradient: Tensor,
    last_gradient: Tensor | None,
    inputs: Inputs,
    time_scales: list[float],
    lengths: Tensor | None,
    reads: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients of all inputs, each contiguous."""
    gradients = tuple(torch.empty(value.shape, dtype=value.dtype) for value in inputs)
    _native.chunked_memory_backward(
        native.rows(reads_gradient),
        native.state(last_gradient),
        *_ready(inputs),
        time_scales,
        native.state(lengths),
        reads.contiguous(),
        rstd.contiguous(),
        *gradients,
        torch.get_num_threads(),
    )
    return gradients


def _ready(inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the inputs as the kernels take them: copies only where rows have gaps."""
    query, priority_logit, key, first_key, value, memory = inputs
    return (
        *map(native.rows, (query, priority_logit, key)),
        first_key.contiguous(),
        native.rows(value),
        memory.contiguous(),
    )
