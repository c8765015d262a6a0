"""The gated recurrence on what products of z leave, read in place: no shifts, sums or copies.

The gates of a step see the z of the step before. A product with every z, and the one before the
first, gives what each of them says to the gates of its own step and of the next; the kernel reads
the row that it needs, and writes gradients back to the same places.
"""

import torch
from torch import Tensor

from mm_rec.errors import ShapeError
from mm_rec.ops.checks import (
    INPUT_SCALES,
    check_choice,
    check_mask,
    check_sequences,
    check_state,
    check_tensor,
)
from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.gated_recurrence.autograd import fake_state, gradients_by, save


def parallel_recurrence(
    gamma_logit: Tensor,
    context_logit: Tensor,
    gates: Tensor,
    z: Tensor,
    h0: Tensor | None = None,
    is_padding: Tensor | None = None,
    *,
    input_scale: str = "convex",
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] and the last state [B, D] of `gated_recurrence`.

    What comes of z has one row more than h, in front, that of the step before the first:
    z and gamma_logit [B, 1 + T, D], of which that row is not used, and gates [B, 1 + T, 3 D]. A row
    of gates holds input_gate_logit of the next step, and what this z adds to mdi_logit of the next
    step and of its own. context_logit: [B, T, D]. The rest as in `gated_recurrence`.

    Raises:
        ShapeError: shapes do not fit, or one has an empty dimension.
        ConfigError: an unknown input_scale, or a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    check_choice("input_scale", input_scale, INPUT_SCALES)
    z, gamma_logit = check_sequences(z=z, gamma_logit=gamma_logit)
    batch, rows, width = z.shape
    _check_shape("context_logit", context_logit, (batch, rows - 1, width))
    _check_shape("gates", gates, (batch, rows, 3 * width))
    sequences = [gamma_logit, context_logit, gates, z]
    dtype = z.dtype
    for value in (context_logit, gates):
        dtype = torch.promote_types(dtype, value.dtype)
    gamma_logit, context_logit, gates, z = (value.to(dtype) for value in sequences)
    return _run(
        gamma_logit,
        context_logit,
        gates,
        z,
        check_state("h0", h0, context_logit),
        check_mask("is_padding", is_padding, context_logit),
        input_scale,
        choose_implementation(implementation, z),
    )


def _check_shape(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    check_tensor(name, value)
    if value.shape != expected or 0 in expected:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}; expected {expected} beside z, whose first row "
            "is that before the first step."
        )


def _compute(
    gamma_logit: Tensor,
    context_logit: Tensor,
    gates: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, gates, z)
    return load("parallel_recurrence", implementation).forward(inputs, h0, is_padding, input_scale)


_forward = torch.library.custom_op("mm_rec::parallel_recurrence", _compute, mutates_args=())


@_forward.register_fake
def _(
    gamma_logit: Tensor,
    context_logit: Tensor,
    gates: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return z.new_empty(context_logit.shape), fake_state(z)


def _compute_backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    gates: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, gates, z)
    module = load("parallel_recurrence", implementation)
    return module.backward(h_gradient, h_last_gradient, inputs, h0, is_padding, h, input_scale)


_backward = torch.library.custom_op(
    "mm_rec::parallel_recurrence_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    gates: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second, third, fourth = (
        value.new_empty(value.shape) for value in (gamma_logit, context_logit, gates, z)
    )
    return first, second, third, fourth, fake_state(z)


_run_backward = directly(_backward, _compute_backward)
_run = with_gradient(_forward, _compute, save, gradients_by(_run_backward))
