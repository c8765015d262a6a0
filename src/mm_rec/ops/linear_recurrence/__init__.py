"""The linear recurrence h[t] = a[t] * h[t-1] + b[t] as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.ops.checks import check_sequences, check_state, state_dtype
from mm_rec.ops.dispatch import choose_implementation, load


def linear_recurrence(
    a: Tensor, b: Tensor, h0: Tensor | None = None, *, implementation: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return h[t] = a[t] * h[t-1] + b[t] for every t, and the last state.

    a, b: [B, T, D], float32, bfloat16 or float64; h0: [B, D], or None for zeros. h has the dtype of
    a and b; the last state is float32 (float64 beside float64), as is the sum over time.

    Raises:
        ShapeError: shapes differ, or one has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    a, b = check_sequences(a=a, b=b)
    h0 = check_state("h0", h0, a)
    return _forward(a, b, h0, choose_implementation(implementation, a))


@torch.library.custom_op("mm_rec::linear_recurrence", mutates_args=())
def _forward(a: Tensor, b: Tensor, h0: Tensor | None, implementation: str) -> tuple[Tensor, Tensor]:
    return load("linear_recurrence", implementation).forward(a, b, h0)


@_forward.register_fake
def _(a: Tensor, b: Tensor, h0: Tensor | None, implementation: str) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), _fake_state(a)


@torch.library.custom_op("mm_rec::linear_recurrence_backward", mutates_args=())
def _backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    module = load("linear_recurrence", implementation)
    return module.backward(h_gradient, h_last_gradient, a, h, h0)


@_backward.register_fake
def _(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return a.new_empty(a.shape), a.new_empty(a.shape), _fake_state(a)


def _fake_state(a: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], a.shape[2]), dtype=state_dtype(a))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    a, _, h0, ctx.implementation = inputs
    ctx.save_for_backward(a, output[0], h0)
    ctx.set_materialize_grads(False)


def _gradients(ctx, h_gradient, h_last_gradient):  # type: ignore[no-untyped-def]
    a, h, h0 = ctx.saved_tensors
    if h_gradient is None:
        h_gradient = torch.zeros_like(h)
    a_gradient, b_gradient, h0_gradient = _backward(
        h_gradient, h_last_gradient, a, h, h0, ctx.implementation
    )
    return a_gradient, b_gradient, None if h0 is None else h0_gradient, None


_forward.register_autograd(_gradients, setup_context=_save)
