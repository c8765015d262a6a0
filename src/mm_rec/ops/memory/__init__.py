"""The long-term memory, a matrix per head and bank, as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.checks import check_sequences, check_state, check_tensor, state_dtype
from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load


def chunked_memory(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor | None,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None = None,
    *,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what every query reads from each bank [B, M, T, D], and the last memory.

        S[t] = exp(-1 / time_scale) S[t-1] + (sigmoid(priority_logit[t]) key[t-1]) value[t]^T
        read[t] = S[t]^T query[t], divided by sqrt(mean(read[t]^2) + d)

    query, priority_logit, key, value: [B, T, D], the heads side by side, float32, bfloat16 or
    float64; first_key: [B, D], the key before the first token, or None for zeros; memory:
    [B, M, H, d, d], keys by values, with H d = D; time_scales: M time constants in tokens;
    lengths: [B] tokens that count in each row, which come first, or None for all T. Slices of
    wider tensors are read in place. The reads have the dtype of the sequences, and mean nothing
    behind `lengths`; the memory is float32 (float64 beside float64), and so is all that is
    computed inside.

    Raises:
        ShapeError: shapes differ or do not belong together, or one has an empty dimension.
        ConfigError: a dtype, a device or a time scale that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
        ValueError: a length outside of [0, T], where the kernel runs.
    """
    query, priority_logit, key, value = check_sequences(
        query=query, priority_logit=priority_logit, key=key, value=value
    )
    first_key = check_state("first_key", first_key, query)
    if first_key is None:
        first_key = query.new_zeros(query.shape[::2], dtype=state_dtype(query))
    memory = _check_memory(memory, time_scales, query)
    lengths = _check_lengths(lengths, query)
    tensors = (query, priority_logit, key, first_key, value, memory, time_scales, lengths)
    # Other devices have no kernel: torch runs and differentiates the products one by one.
    if choose_implementation(implementation, query, kernels=("cpu",)) == "reference":
        return load("memory", "chunked").read_chunks(*tensors)
    reads, last, _ = _run(*tensors)
    return reads, last


def _check_memory(memory: Tensor, time_scales: list[float], query: Tensor) -> Tensor:
    """Return the memory in the dtype of the states beside the query."""
    check_tensor("memory", memory)
    batch, _, width = query.shape
    shape = tuple(memory.shape)
    if memory.dim() != 5 or 0 in shape or shape[0] != batch or shape[3] != shape[4]:
        raise ShapeError(f"memory has shape {shape}; expected [B, M, H, d, d] with B={batch}.")
    if shape[2] * shape[3] != width:
        raise ShapeError(
            f"memory has shape {shape}, {shape[2]} heads of {shape[3]}; expected heads that make "
            f"up the D={width} channels of the query."
        )
    if len(time_scales) != shape[1] or not all(0 < scale < float("inf") for scale in time_scales):
        raise ConfigError(
            f"time_scales={time_scales!r}; expected {shape[1]} numbers above 0, one for each bank."
        )
    if memory.device != query.device:
        raise ConfigError(f"memory is on {memory.device}; expected {query.device}.")
    return memory.to(state_dtype(query))


def _check_lengths(lengths: Tensor | None, query: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    if lengths.dtype not in (torch.int32, torch.int64) or lengths.shape != query.shape[:1]:
        raise ShapeError(
            f"lengths has shape {tuple(lengths.shape)} and dtype {lengths.dtype}; expected "
            f"({query.shape[0]},) whole numbers, one for each row."
        )
    return lengths.to(torch.int64)


def _compute(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return load("memory", "cpu").forward(
        query, priority_logit, key, first_key, value, memory, time_scales, lengths
    )


_forward = torch.library.custom_op("mm_rec::chunked_memory", _compute, mutates_args=())


@_forward.register_fake
def _(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, banks, heads = memory.shape[:3]
    _, steps, width = query.shape
    return (
        query.new_empty((batch, banks, steps, width)),
        memory.new_empty(memory.shape),
        memory.new_empty((batch, banks, heads, steps)),
    )


def _compute_backward(
    reads_gradient: Tensor,
    last_gradient: Tensor | None,
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
    reads: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (query, priority_logit, key, first_key, value, memory)
    return load("memory", "cpu").backward(
        reads_gradient, last_gradient, inputs, time_scales, lengths, reads, rstd
    )


_backward = torch.library.custom_op(
    "mm_rec::chunked_memory_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(
    reads_gradient: Tensor,
    last_gradient: Tensor | None,
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    time_scales: list[float],
    lengths: Tensor | None,
    reads: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (query, priority_logit, key, first_key, value, memory)
    first, second, third, fourth, fifth, sixth = (one.new_empty(one.shape) for one in inputs)
    return first, second, third, fourth, fifth, sixth


_run_backward = directly(_backward, _compute_backward)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.time_scales, lengths = inputs
    reads, _, rstd = output
    ctx.mark_non_differentiable(rstd)
    ctx.save_for_backward(*tensors, lengths, reads, rstd)
    ctx.set_materialize_grads(False)


def _gradients(ctx, reads_gradient, last_gradient, _):  # type: ignore[no-untyped-def]
    *tensors, lengths, reads, rstd = ctx.saved_tensors
    if reads_gradient is None:
        if last_gradient is None:
            return (None,) * 8
        reads_gradient = torch.zeros_like(reads)
    gradients = _run_backward(
        reads_gradient, last_gradient, *tensors, ctx.time_scales, lengths, reads, rstd
    )
    return *gradients, None, None


_run = with_gradient(_forward, _compute, _save, _gradients)
