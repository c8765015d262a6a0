"""The recurrence whose gates see the state itself, as a torch op with gradients."""

import torch
from torch import Tensor

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.checks import (
    check_mask,
    check_sequences,
    check_state,
    check_tensor,
    state_dtype,
)
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.exact_recurrence.reference import states_before


def exact_recurrence(
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None = None,
    *,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] and the last state [B, D] of the recurrence whose gates see h[t-1].

        gamma = clamp(sigmoid(gamma_logit) * sigmoid(context_logit), 1e-6, 1 - 1e-6)
        i[t] = sigmoid(gate_weight h[t-1] + gate_bias)
        w[t] = (1 - gamma[t]) * sigmoid(mdi_logit[t] + mdi_weight h[t-1])
        h[t] = (1 - w[t]) * h[t-1] + w[t] * i[t] * z[t]

    gamma_logit, context_logit, mdi_logit, z: [B, T, D], float32, bfloat16 or float64; mdi_logit
    holds the part of the MDI gate that sees the input, bias included. h0: [B, D], or None for
    zeros. gate_weight, mdi_weight: [D, D]; gate_bias: [D]. is_padding: boolean [B, T], True where
    a step leaves the state alone. h has the dtype of the inputs; the last state is float32
    (float64 beside float64), and so is all that is computed inside.

    Raises:
        ShapeError: shapes differ, or one has an empty dimension.
        ConfigError: a dtype or device that does not fit.
        ImplementationError: the implementation named cannot take these tensors.
    """
    z, gamma_logit, context_logit, mdi_logit = check_sequences(
        z=z, gamma_logit=gamma_logit, context_logit=context_logit, mdi_logit=mdi_logit
    )
    width = z.shape[2]
    tensors = (
        gamma_logit,
        context_logit,
        mdi_logit,
        z,
        check_state("h0", h0, z),
        _check_weight("gate_weight", gate_weight, (width, width), z),
        _check_weight("gate_bias", gate_bias, (width,), z),
        _check_weight("mdi_weight", mdi_weight, (width, width), z),
        check_mask("is_padding", is_padding, z),
    )
    keeps_gates = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in tensors
    )
    h, h_last, _ = _forward(*tensors, choose_implementation(implementation, z), keeps_gates)
    return h, h_last


def _check_weight(name: str, weight: Tensor, shape: tuple[int, ...], z: Tensor) -> Tensor:
    """Return the weight in the dtype of the states beside z."""
    check_tensor(name, weight)
    if weight.shape != shape:
        raise ShapeError(
            f"{name} has shape {tuple(weight.shape)}; expected {tuple(shape)} beside sequences of "
            f"shape {tuple(z.shape)}."
        )
    if weight.device != z.device:
        raise ConfigError(f"{name} is on {weight.device}; expected {z.device}, where z is.")
    return weight.to(state_dtype(z))


@torch.library.custom_op("mm_rec::exact_recurrence", mutates_args=())
def _forward(
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None,
    implementation: str,
    keeps_gates: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, mdi_logit, z)
    weights = (gate_weight, gate_bias, mdi_weight)
    module = load("exact_recurrence", implementation)
    with torch.autocast(z.device.type, enabled=False):
        return module.forward(inputs, h0, weights, is_padding, keeps_gates)


@_forward.register_fake
def _(
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None,
    implementation: str,
    keeps_gates: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    gates = _fake_gates(z) if keeps_gates else z.new_empty(0)
    return z.new_empty(z.shape), _fake_state(z), gates


@torch.library.custom_op("mm_rec::exact_recurrence_backward", mutates_args=())
def _backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None,
    h: Tensor,
    gates: Tensor,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (gamma_logit, context_logit, mdi_logit, z)
    weights = (gate_weight, gate_bias, mdi_weight)
    module = load("exact_recurrence", implementation)
    with torch.autocast(z.device.type, enabled=False):
        return module.backward(
            h_gradient, h_last_gradient, inputs, h0, weights, is_padding, h, gates
        )


@_backward.register_fake
def _(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    gamma_logit: Tensor,
    context_logit: Tensor,
    mdi_logit: Tensor,
    z: Tensor,
    h0: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mdi_weight: Tensor,
    is_padding: Tensor | None,
    h: Tensor,
    gates: Tensor,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second, third = (z.new_empty(z.shape) for _ in range(3))
    return first, second, third, _fake_gates(z), _fake_state(z)


def _fake_state(z: Tensor) -> Tensor:
    return z.new_empty((z.shape[0], z.shape[2]), dtype=state_dtype(z))


def _fake_gates(z: Tensor) -> Tensor:
    batch, steps, width = z.shape
    return z.new_empty((batch, steps, 2 * width))


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.implementation, _ = inputs
    h, _, gates = output
    ctx.mark_non_differentiable(gates)
    ctx.save_for_backward(*tensors, h, gates)
    ctx.set_materialize_grads(False)


def _gradients(ctx, h_gradient, h_last_gradient, _):  # type: ignore[no-untyped-def]
    *inputs, h, gates = ctx.saved_tensors
    h0, gate_weight = inputs[4], inputs[5]
    if h_gradient is None:
        h_gradient = torch.zeros_like(h)
    gamma_gradient, context_gradient, z_gradient, gates_gradient, h0_gradient = _backward(
        h_gradient, h_last_gradient, *inputs, h, gates, ctx.implementation
    )
    width = h.shape[-1]
    input_gate_gradient, mdi_gradient = gates_gradient.split(width, dim=-1)
    # The weights' gradients need no order of time: one large product over all steps of all rows.
    before = states_before(h, h0).flatten(0, 1)
    weights_gradient = (gates_gradient.flatten(0, 1).t() @ before).to(gate_weight.dtype)
    bias_gradient = input_gate_gradient.sum((0, 1), dtype=gate_weight.dtype)
    return (
        gamma_gradient,
        context_gradient,
        mdi_gradient,
        z_gradient,
        None if h0 is None else h0_gradient,
        weights_gradient[:width],
        bias_gradient,
        weights_gradient[width:],
        None,
        None,
        None,
    )


_forward.register_autograd(_gradients, setup_context=_save)
