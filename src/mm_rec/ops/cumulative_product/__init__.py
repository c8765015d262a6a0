"""The cumulative product of decays along time as a torch op with a gradient."""

import torch
from torch import Tensor

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.checks import check_tensor
from mm_rec.ops.dispatch import choose_implementation, load


def cumulative_product(gamma: Tensor, *, implementation: str | None = None) -> Tensor:
    """Return Y[t], the product of gamma[1..t] along T, in the dtype of gamma.

    gamma: [B, H, T, d] in (0, 1], float32, bfloat16 or float64; multiplied in float32 at least. The
    CPU kernel takes numbers below 1.2e-38 as zero.

    Raises:
        ShapeError: gamma has not four dimensions, or an empty one.
        ConfigError: a dtype that does not fit, or a value outside (0, 1].
        ImplementationError: the implementation named cannot take gamma.
    """
    check_tensor("gamma", gamma)
    if gamma.dim() != 4 or 0 in gamma.shape:
        raise ShapeError(
            f"gamma has shape {tuple(gamma.shape)}; expected [B, H, T, d], each at least 1."
        )
    rows = gamma.flatten(0, 1)
    return _forward(rows, choose_implementation(implementation, gamma)).view(gamma.shape)


@torch.library.custom_op("mm_rec::cumulative_product", mutates_args=())
def _forward(gamma: Tensor, implementation: str) -> Tensor:
    product, is_in_range = load("cumulative_product", implementation).forward(gamma)
    if not is_in_range:
        raise ConfigError("gamma has values outside (0, 1] or NaN; clamp it to (0, 1] first.")
    return product


@_forward.register_fake
def _(gamma: Tensor, implementation: str) -> Tensor:
    return gamma.new_empty(gamma.shape)


@torch.library.custom_op("mm_rec::cumulative_product_backward", mutates_args=())
def _backward(
    product_gradient: Tensor, gamma: Tensor, product: Tensor, implementation: str
) -> Tensor:
    return load("cumulative_product", implementation).backward(product_gradient, gamma, product)


@_backward.register_fake
def _(product_gradient: Tensor, gamma: Tensor, product: Tensor, implementation: str) -> Tensor:
    return gamma.new_empty(gamma.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    gamma, ctx.implementation = inputs
    ctx.save_for_backward(gamma, output)


def _gradient(ctx, product_gradient):  # type: ignore[no-untyped-def]
    gamma, product = ctx.saved_tensors
    return _backward(product_gradient, gamma, product, ctx.implementation), None


_forward.register_autograd(_gradient, setup_context=_save)
