"""The gated recurrence in Triton: gates and scan in one pass each way."""

# mypy: disallow-untyped-defs=False
# (Triton infers the types of what it compiles, and refuses annotations.)

import torch
import triton
import triton.language as tl
from torch import Tensor

from mm_rec.ops.gated_recurrence.reference import Inputs
from mm_rec.ops.triton_scan import CHANNELS, STEPS, grid_of, row_of, scan_tile


@triton.jit
def _load(data, times, channels, time_stride, is_in):
    at = times[:, None] * time_stride + channels[None, :]
    return tl.load(data + at, mask=is_in, other=0.0).to(tl.float32)


@triton.jit
def _decay(gamma_logit, context_logit):
    """Return gamma before its clamp, and 1 - gamma after it, exact near gamma = 1 too."""
    # Below -36, products of exponentials would overflow.
    ex = tl.exp(-tl.maximum(gamma_logit, -36.0))
    ey = tl.exp(-tl.maximum(context_logit, -36.0))
    gamma = 1.0 / ((1.0 + ex) * (1.0 + ey))
    decayed = (ex * ey + (ex + ey)) * gamma
    return gamma, tl.minimum(tl.maximum(decayed, 1e-6), 1.0 - 1e-6)


@triton.jit
def _weight(gamma_logit, context_logit, mdi_logit, times, channels, strides, is_in):
    """Return w [steps, channels] at the given times; 0 at padding and outside."""
    gamma_stride, context_stride, mdi_stride = strides
    x = _load(gamma_logit, times, channels, gamma_stride, is_in)
    y = _load(context_logit, times, channels, context_stride, is_in)
    m = _load(mdi_logit, times, channels, mdi_stride, is_in)
    _, decayed = _decay(x, y)
    return tl.where(is_in, decayed * tl.sigmoid(m), 0.0)


@triton.jit
def _scale(weight, KEEPS_VARIANCE: tl.constexpr):
    """Return what i * z is multiplied by, and the slope of that by the weight."""
    scale = weight
    slope = tl.full(weight.shape, 1.0, tl.float32)
    if KEEPS_VARIANCE:
        scale = tl.sqrt(weight * (2.0 - weight))
        slope = (1.0 - weight) / tl.maximum(scale, 1e-30)
    return scale, slope


@triton.jit
def _is_real(is_padding, times, steps, is_channel, HAS_PADDING: tl.constexpr):
    is_in = (times[:, None] < steps) & is_channel[None, :]
    if HAS_PADDING:
        padding = tl.load(is_padding + times, mask=times < steps, other=1)
        is_in = is_in & (padding[:, None] == 0)
    return is_in


@triton.jit
def _forward(
    gamma_logit,
    context_logit,
    input_gate_logit,
    mdi_logit,
    z,
    h0,
    is_padding,
    h,
    h_last,
    batch_strides,
    time_strides,
    steps,
    width,
    HAS_H0: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    KEEPS_VARIANCE: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < width
    gate_row = input_gate_logit + row * batch_strides[2]
    z_row = z + row * batch_strides[4]
    state = tl.zeros([CHANNELS], dtype=tl.float32)
    if HAS_H0:
        state = tl.load(h0 + row * width + channels, mask=is_channel, other=0.0)
    for start in range(0, steps, STEPS):
        times = start + tl.arange(0, STEPS).to(tl.int64)
        is_in = _is_real(is_padding + row * steps, times, steps, is_channel, HAS_PADDING)
        weight = _weight(
            gamma_logit + row * batch_strides[0],
            context_logit + row * batch_strides[1],
            mdi_logit + row * batch_strides[3],
            times,
            channels,
            (time_strides[0], time_strides[1], time_strides[3]),
            is_in,
        )
        n = _load(gate_row, times, channels, time_strides[2], is_in)
        value = _load(z_row, times, channels, time_strides[4], is_in)
        scale, _ = _scale(weight, KEEPS_VARIANCE)
        states = scan_tile(1.0 - weight, scale * tl.sigmoid(n) * value, state, False)
        at = (row * steps + times[:, None]) * width + channels[None, :]
        is_stored = (times[:, None] < steps) & is_channel[None, :]
        tl.store(h + at, states.to(h.dtype.element_ty), mask=is_stored)
        state = row_of(states, STEPS - 1, STEPS)
    tl.store(h_last + row * width + channels, state, mask=is_channel)


@triton.jit
def _backward(
    h_gradient,
    h_last_gradient,
    gamma_logit,
    context_logit,
    input_gate_logit,
    mdi_logit,
    z,
    h0,
    is_padding,
    h,
    gamma_gradient,
    context_gradient,
    input_gate_gradient,
    mdi_gradient,
    z_gradient,
    h0_gradient,
    batch_strides,
    time_strides,
    steps,
    width,
    HAS_H_LAST_GRADIENT: tl.constexpr,
    HAS_H0: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    KEEPS_VARIANCE: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < width
    gamma_row = gamma_logit + row * batch_strides[0]
    context_row = context_logit + row * batch_strides[1]
    mdi_row = mdi_logit + row * batch_strides[3]
    padding_row = is_padding + row * steps
    gate_row = input_gate_logit + row * batch_strides[2]
    z_row = z + row * batch_strides[4]
    weight_strides = (time_strides[0], time_strides[1], time_strides[3])
    # The carry is g[t+1], where the decay of step T counts as 1: g[T-1] = dh[T-1] + dh_last.
    carried = tl.zeros([CHANNELS], dtype=tl.float32)
    first = tl.zeros([CHANNELS], dtype=tl.float32)
    if HAS_H_LAST_GRADIENT:
        carried = tl.load(h_last_gradient + row * width + channels, mask=is_channel, other=0.0)
    if HAS_H0:
        first = tl.load(h0 + row * width + channels, mask=is_channel, other=0.0)
    for tile in range(0, tl.cdiv(steps, STEPS)):
        start = (tl.cdiv(steps, STEPS) - 1 - tile) * STEPS
        times = start + tl.arange(0, STEPS).to(tl.int64)
        at = (row * steps + times[:, None]) * width + channels[None, :]
        is_stored = (times[:, None] < steps) & is_channel[None, :]
        is_in = _is_real(padding_row, times, steps, is_channel, HAS_PADDING)
        is_next = _is_real(padding_row, times + 1, steps, is_channel, HAS_PADDING)
        weight_next = _weight(
            gamma_row, context_row, mdi_row, times + 1, channels, weight_strides, is_next
        )
        upper = tl.load(h_gradient + at, mask=is_stored, other=0.0).to(tl.float32)
        g = scan_tile(1.0 - weight_next, upper, carried, True)
        carried = row_of(g, 0, STEPS)

        x = _load(gamma_row, times, channels, time_strides[0], is_in)
        y = _load(context_row, times, channels, time_strides[1], is_in)
        n = _load(gate_row, times, channels, time_strides[2], is_in)
        m = _load(mdi_row, times, channels, time_strides[3], is_in)
        value = _load(z_row, times, channels, time_strides[4], is_in)
        before = tl.load(h + at - width, mask=is_stored & (times[:, None] > 0), other=0.0)
        before = tl.where(times[:, None] == 0, first[None, :], before.to(tl.float32))

        gamma, decayed = _decay(x, y)
        mdi, input_gate = tl.sigmoid(m), tl.sigmoid(n)
        weight = decayed * mdi
        scale, slope = _scale(weight, KEEPS_VARIANCE)
        g = tl.where(is_in, g, 0.0)
        weight_gradient = g * (slope * input_gate * value - before)
        dz = g * scale * input_gate
        # A clamped gamma has no gradient.
        is_inside = (decayed > 1e-6) & (decayed < 1.0 - 1e-6)
        dgamma = tl.where(is_inside, -weight_gradient * mdi * gamma, 0.0)
        element = z_gradient.dtype.element_ty
        tl.store(gamma_gradient + at, (dgamma * tl.sigmoid(-x)).to(element), mask=is_stored)
        tl.store(context_gradient + at, (dgamma * tl.sigmoid(-y)).to(element), mask=is_stored)
        dn = dz * value * (1.0 - input_gate)
        tl.store(input_gate_gradient + at, dn.to(element), mask=is_stored)
        dm = weight_gradient * weight * (1.0 - mdi)
        tl.store(mdi_gradient + at, dm.to(element), mask=is_stored)
        tl.store(z_gradient + at, dz.to(element), mask=is_stored)
    zero = tl.zeros([1], dtype=tl.int64)
    is_first = _is_real(padding_row, zero, steps, is_channel, HAS_PADDING)
    weight = _weight(gamma_row, context_row, mdi_row, zero, channels, weight_strides, is_first)
    decayed_carry = (1.0 - tl.sum(weight, axis=0)) * carried
    tl.store(h0_gradient + row * width + channels, decayed_carry, mask=is_channel)


def forward(
    inputs: Inputs, h0: Tensor | None, is_padding: Tensor | None, input_scale: str = "convex"
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    z = inputs[4]
    grid, (batch, steps, width) = grid_of(z), z.shape
    rows = [_rows(value) for value in inputs]
    h = z.new_empty(z.shape)
    h_last = z.new_empty((batch, width), dtype=torch.float32)
    _forward[grid](
        *rows,
        h_last if h0 is None else h0.contiguous(),
        h_last if is_padding is None else is_padding.contiguous(),
        h,
        h_last,
        tuple(value.stride(0) for value in rows),
        tuple(value.stride(1) for value in rows),
        steps,
        width,
        HAS_H0=h0 is not None,
        HAS_PADDING=is_padding is not None,
        KEEPS_VARIANCE=input_scale == "variance",
        STEPS=STEPS,
        CHANNELS=CHANNELS,
    )
    return h, h_last


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Inputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str = "convex",
) -> tuple[Tensor, ...]:
    """Return the gradients of the five inputs and of h0."""
    z = inputs[4]
    grid, (batch, steps, width) = grid_of(z), z.shape
    rows = [_rows(value) for value in inputs]
    gradients = [z.new_empty(z.shape) for _ in inputs]
    h0_gradient = z.new_empty((batch, width), dtype=torch.float32)
    _backward[grid](
        h_gradient.contiguous(),
        h0_gradient if h_last_gradient is None else h_last_gradient.contiguous(),
        *rows,
        h0_gradient if h0 is None else h0.contiguous(),
        h0_gradient if is_padding is None else is_padding.contiguous(),
        h.contiguous(),
        *gradients,
        h0_gradient,
        tuple(value.stride(0) for value in rows),
        tuple(value.stride(1) for value in rows),
        steps,
        width,
        HAS_H_LAST_GRADIENT=h_last_gradient is not None,
        HAS_H0=h0 is not None,
        HAS_PADDING=is_padding is not None,
        KEEPS_VARIANCE=input_scale == "variance",
        STEPS=STEPS,
        CHANNELS=CHANNELS,
    )
    return *gradients, h0_gradient


def _rows(sequence: Tensor) -> Tensor:
    return sequence if sequence.stride(-1) == 1 else sequence.contiguous()
