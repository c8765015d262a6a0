"""RMS norm with a weight, as a torch op with gradients; one pass each way on CPUs."""

import torch
from torch import Tensor

from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.rows import check_per_channel, check_rows, product_dtype, wide_dtype


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, implementation: str | None = None) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight, the mean over the last dimension.

    x: [..., C], float32, bfloat16 or float64; weight: [C]. Under autocast the result is in its
    dtype already, as what it is made for, a product, reads it; else in that of x.

    Raises:
        ShapeError: the weight does not fit, or x has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    check_rows("x", x)
    check_per_channel("weight", weight, x)
    implementation = choose_implementation(implementation, x, kernels=("cpu",))
    y, _ = _run(x, weight.to(wide_dtype(x)), eps, product_dtype(x), implementation)
    return y


def _compute(
    x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, implementation: str
) -> tuple[Tensor, Tensor]:
    return load("rms_norm", implementation).forward(x, weight, eps, dtype)


_forward = torch.library.custom_op("mm_rec::rms_norm", _compute, mutates_args=())


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, implementation: str
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=dtype), x.new_empty(x.shape[:-1], dtype=wide_dtype(x))


def _compute_backward(
    y_gradient: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, implementation: str
) -> tuple[Tensor, Tensor]:
    return load("rms_norm", implementation).backward(y_gradient, x, weight, rstd)


_backward = torch.library.custom_op("mm_rec::rms_norm_backward", _compute_backward, mutates_args=())


@_backward.register_fake
def _(
    y_gradient: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, implementation: str
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


_run_backward = directly(_backward, _compute_backward)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, weight, _, _, ctx.implementation = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _gradients(ctx, y_gradient, _):  # type: ignore[no-untyped-def]
    if y_gradient is None:
        return None, None, None, None, None
    return *_run_backward(y_gradient, *ctx.saved_tensors, ctx.implementation), None, None, None


_run = with_gradient(_forward, _compute, _save, _gradients)
