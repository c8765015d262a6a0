"""gelu(x + bias) as a torch op whose backward pass gives both gradients at once."""

import torch
from torch import Tensor

from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.rows import check_per_channel, check_rows, wide_dtype


def bias_gelu(x: Tensor, bias: Tensor, *, implementation: str | None = None) -> Tensor:
    """Return gelu(x + bias), in the dtype of x.

    x: [..., C], float32, bfloat16 or float64; bias: [C]. Only x is kept for the backward pass.

    Raises:
        ShapeError: the bias does not fit, or x has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    check_rows("x", x)
    check_per_channel("bias", bias, x)
    implementation = choose_implementation(implementation, x, kernels=("cpu",))
    return _run(x, bias.to(wide_dtype(x)), implementation)


def _compute(x: Tensor, bias: Tensor, implementation: str) -> Tensor:
    return load("bias_gelu", implementation).forward(x, bias)


_forward = torch.library.custom_op("mm_rec::bias_gelu", _compute, mutates_args=())


@_forward.register_fake
def _(x: Tensor, bias: Tensor, implementation: str) -> Tensor:
    return x.new_empty(x.shape)


def _compute_backward(
    y_gradient: Tensor, x: Tensor, bias: Tensor, implementation: str
) -> tuple[Tensor, Tensor]:
    return load("bias_gelu", implementation).backward(y_gradient, x, bias)


_backward = torch.library.custom_op(
    "mm_rec::bias_gelu_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(y_gradient: Tensor, x: Tensor, bias: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), bias.new_empty(bias.shape)


_run_backward = directly(_backward, _compute_backward)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, bias, ctx.implementation = inputs
    ctx.save_for_backward(x, bias)


def _gradients(ctx, y_gradient):  # type: ignore[no-untyped-def]
    return *_run_backward(y_gradient, *ctx.saved_tensors, ctx.implementation), None


_run = with_gradient(_forward, _compute, _save, _gradients)
