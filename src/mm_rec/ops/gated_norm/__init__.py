"""The output gate, rms_norm(h + context) * silu(e), as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.rows import check_like, check_rows, wide_dtype


def gated_norm(
    h: Tensor,
    context: Tensor | None,
    e: Tensor,
    eps: float,
    *,
    implementation: str | None = None,
) -> Tensor:
    """Return (h + context) / sqrt(mean((h + context)^2) + eps) * silu(e).

    h, e: [..., C], float32, bfloat16 or float64, and context the same or None; slices of wider
    tensors are read in place. The result has their common dtype.

    Raises:
        ShapeError: shapes differ, or one has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    check_rows("h", h)
    check_like("e", e, "h", h)
    dtype = torch.promote_types(h.dtype, e.dtype)
    if context is not None:
        check_like("context", context, "h", h)
        dtype = torch.promote_types(dtype, context.dtype)
        context = context.to(dtype)
    h, e = h.to(dtype), e.to(dtype)
    out, _ = _run(h, context, e, eps, choose_implementation(implementation, h, kernels=("cpu",)))
    return out


def _compute(
    h: Tensor, context: Tensor | None, e: Tensor, eps: float, implementation: str
) -> tuple[Tensor, Tensor]:
    return load("gated_norm", implementation).forward(h, context, e, eps)


_forward = torch.library.custom_op("mm_rec::gated_norm", _compute, mutates_args=())


@_forward.register_fake
def _(
    h: Tensor, context: Tensor | None, e: Tensor, eps: float, implementation: str
) -> tuple[Tensor, Tensor]:
    return h.new_empty(h.shape), h.new_empty(h.shape[:-1], dtype=wide_dtype(h))


def _compute_backward(
    out_gradient: Tensor,
    h: Tensor,
    context: Tensor | None,
    e: Tensor,
    rstd: Tensor,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return load("gated_norm", implementation).backward(out_gradient, h, context, e, rstd)


_backward = torch.library.custom_op(
    "mm_rec::gated_norm_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(
    out_gradient: Tensor,
    h: Tensor,
    context: Tensor | None,
    e: Tensor,
    rstd: Tensor,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return h.new_empty(h.shape), e.new_empty(e.shape)


_run_backward = directly(_backward, _compute_backward)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    h, context, e, _, ctx.implementation = inputs
    ctx.save_for_backward(h, context, e, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _gradients(ctx, out_gradient, _):  # type: ignore[no-untyped-def]
    if out_gradient is None:
        return None, None, None, None, None
    h, context, e, rstd = ctx.saved_tensors
    own, gate = _run_backward(out_gradient, h, context, e, rstd, ctx.implementation)
    return own, None if context is None else own, gate, None, None


_run = with_gradient(_forward, _compute, _save, _gradients)
