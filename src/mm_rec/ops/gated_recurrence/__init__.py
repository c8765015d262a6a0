"""The gates and the recurrence of MM-Rec in one pass each way, as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.ops.checks import (
    INPUT_SCALES,
    check_choice,
    check_mask,
    check_sequences,
    check_state,
)
from mm_rec.ops.direct import directly, with_gradient
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.gated_recurrence.autograd import fake_state, gradients_by, save


def gated_recurrence(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None = None,
    is_padding: Tensor | None = None,
    *,
    input_scale: str = "convex",
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] and the last state [B, D] of the gated recurrence.

        gamma = clamp(sigmoid(gamma_logit) * sigmoid(context_logit), 1e-6, 1 - 1e-6)
        w = (1 - gamma) * sigmoid(mdi_logit)
        h[t] = (1 - w) * h[t-1] + scale * sigmoid(input_gate_logit) * z

    The scale is w where input_scale is "convex": |h| stays bounded by |z|. It is sqrt(w (2 - w))
    where it is "variance": inputs of one variance, each independent of the others, give a state of
    that variance whatever w is, and |h| is no longer bounded by |z|.

    All inputs are [B, T, D], float32, bfloat16 or float64; slices of wider tensors are read in
    place. h0: [B, D], or None for zeros. is_padding: boolean [B, T], True where a step leaves the
    state alone. h has the dtype of the inputs; the last state is float32 (float64 beside float64).
    Nothing but h is kept for the backward pass, which computes the gates again.

    Raises:
        ShapeError: shapes differ, or one has an empty dimension.
        ConfigError: an unknown input_scale, or a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    check_choice("input_scale", input_scale, INPUT_SCALES)
    sequences = check_sequences(
        z=z,
        gamma_logit=gamma_logit,
        context_logit=context_logit,
        input_gate_logit=input_gate_logit,
        mdi_logit=mdi_logit,
    )
    z, gamma_logit, context_logit, input_gate_logit, mdi_logit = sequences
    return _run(
        gamma_logit,
        context_logit,
        input_gate_logit,
        mdi_logit,
        z,
        check_state("h0", h0, z),
        check_mask("is_padding", is_padding, z),
        input_scale,
        choose_implementation(implementation, z),
    )


def _compute(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, input_gate_logit, mdi_logit, z)
    return load("gated_recurrence", implementation).forward(inputs, h0, is_padding, input_scale)


_forward = torch.library.custom_op("mm_rec::gated_recurrence", _compute, mutates_args=())


@_forward.register_fake
def _(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape), fake_state(z)


def _compute_backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, input_gate_logit, mdi_logit, z)
    module = load("gated_recurrence", implementation)
    return module.backward(h_gradient, h_last_gradient, inputs, h0, is_padding, h, input_scale)


_backward = torch.library.custom_op(
    "mm_rec::gated_recurrence_backward", _compute_backward, mutates_args=()
)


@_backward.register_fake
def _(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second, third, fourth, fifth = (z.new_empty(z.shape) for _ in range(5))
    return first, second, third, fourth, fifth, fake_state(z)


_run_backward = directly(_backward, _compute_backward)
_run = with_gradient(_forward, _compute, save, gradients_by(_run_backward))
