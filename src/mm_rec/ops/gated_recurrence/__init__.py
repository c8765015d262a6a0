"""The gates and the recurrence of MM-Rec in one pass each way, as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.ops.checks import check_mask, check_sequences, check_state, state_dtype
from mm_rec.ops.dispatch import choose_implementation, load


def gated_recurrence(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None = None,
    is_padding: Tensor | None = None,
    *,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] and the last state [B, D] of the gated recurrence.

        gamma = clamp(sigmoid(gamma_logit) * sigmoid(context_logit), 1e-6, 1 - 1e-6)
        w = (1 - gamma) * sigmoid(mdi_logit)
        h[t] = (1 - w) * h[t-1] + w * sigmoid(input_gate_logit) * z

    All inputs are [B, T, D], float32, bfloat16 or float64; slices of wider tensors are read in
    place. h0: [B, D], or None for zeros. is_padding: boolean [B, T], True where a step leaves the
    state alone. h has the dtype of the inputs; the last state is float32 (float64 beside float64).
    Nothing but h is kept for the backward pass, which computes the gates again.

    Raises:
        ShapeError: shapes differ, or one has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    sequences = check_sequences(
        z=z,
        gamma_logit=gamma_logit,
        context_logit=context_logit,
        input_gate_logit=input_gate_logit,
        mdi_logit=mdi_logit,
    )
    z, gamma_logit, context_logit, input_gate_logit, mdi_logit = sequences
    return _forward(
        gamma_logit,
        context_logit,
        input_gate_logit,
        mdi_logit,
        z,
        check_state("h0", h0, z),
        check_mask("is_padding", is_padding, z),
        choose_implementation(implementation, z),
    )


@torch.library.custom_op("mm_rec::gated_recurrence", mutates_args=())
def _forward(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return load("gated_recurrence", implementation).forward(
        (gamma_logit, context_logit, input_gate_logit, mdi_logit, z), h0, is_padding
    )


@_forward.register_fake
def _(
    gamma_logit: Tensor,
    context_logit: Tensor,
    input_gate_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    is_padding: Tensor | None,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape), _fake_state(z)


@torch.library.custom_op("mm_rec::gated_recurrence_backward", mutates_args=())
def _backward(
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
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, input_gate_logit, mdi_logit, z)
    module = load("gated_recurrence", implementation)
    return module.backward(h_gradient, h_last_gradient, inputs, h0, is_padding, h)


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
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second, third, fourth, fifth = (z.new_empty(z.shape) for _ in range(5))
    return first, second, third, fourth, fifth, _fake_state(z)


def _fake_state(z: Tensor) -> Tensor:
    return z.new_empty((z.shape[0], z.shape[2]), dtype=state_dtype(z))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.implementation = inputs
    ctx.save_for_backward(*tensors, output[0])
    ctx.set_materialize_grads(False)


def _gradients(ctx, h_gradient, h_last_gradient):  # type: ignore[no-untyped-def]
    *inputs, h0, is_padding, h = ctx.saved_tensors
    if h_gradient is None:
        h_gradient = torch.zeros_like(h)
    *gradients, h0_gradient = _backward(
        h_gradient, h_last_gradient, *inputs, h0, is_padding, h, ctx.implementation
    )
    return *gradients, None if h0 is None else h0_gradient, None, None


_forward.register_autograd(_gradients, setup_context=_save)
