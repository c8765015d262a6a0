"""What registering gradients takes of the gated recurrence, whatever form its inputs come in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mm_rec.ops.checks import state_dtype


def fake_state(z: Tensor) -> Tensor:
    """Return a last state [B, D] of no particular content, for tracing."""
    return z.new_empty((z.shape[0], z.shape[2]), dtype=state_dtype(z))


def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    """Keep the inputs and h, and nothing that the backward pass can compute again."""
    *tensors, ctx.input_scale, ctx.implementation = inputs
    ctx.save_for_backward(*tensors, output[0])
    ctx.set_materialize_grads(False)


def gradients_by(run_backward: Callable[..., Any]) -> Callable[..., Any]:
    """Return what gives the gradients of all inputs, by an op's backward pass."""

    def gradients(ctx, h_gradient, h_last_gradient):  # type: ignore[no-untyped-def]
        *inputs, h0, is_padding, h = ctx.saved_tensors
        if h_gradient is None:
            h_gradient = torch.zeros_like(h)
        *found, h0_gradient = run_backward(
            *(h_gradient, h_last_gradient, *inputs, h0, is_padding, h),
            *(ctx.input_scale, ctx.implementation),
        )
        return *found, None if h0 is None else h0_gradient, None, None, None

    return gradients
