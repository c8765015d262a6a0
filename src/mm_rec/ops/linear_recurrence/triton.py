"""The linear recurrence in Triton."""

# mypy: disallow-untyped-defs=False
# (Triton infers the types of what it compiles, and refuses annotations.)

import torch
import triton
import triton.language as tl
from torch import Tensor

from mm_rec.ops.triton_scan import CHANNELS, STEPS, grid_of, row_of, scan_tile


@triton.jit
def _forward(
    a,
    b,
    h0,
    h,
    h_last,
    steps,
    width,
    HAS_H0: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < width
    state = tl.zeros([CHANNELS], dtype=tl.float32)
    if HAS_H0:
        state = tl.load(h0 + row * width + channels, mask=is_channel, other=0.0)
    for start in range(0, steps, STEPS):
        times = start + tl.arange(0, STEPS)
        at = (row * steps + times[:, None]) * width + channels[None, :]
        is_in = (times[:, None] < steps) & is_channel[None, :]
        # Past the end a step changes nothing, so the last row always holds the state.
        scale = tl.load(a + at, mask=is_in, other=1.0).to(tl.float32)
        shift = tl.load(b + at, mask=is_in, other=0.0).to(tl.float32)
        states = scan_tile(scale, shift, state, False)
        tl.store(h + at, states.to(h.dtype.element_ty), mask=is_in)
        state = row_of(states, STEPS - 1, STEPS)
    tl.store(h_last + row * width + channels, state, mask=is_channel)


@triton.jit
def _backward(
    h_gradient,
    h_last_gradient,
    a,
    h,
    h0,
    a_gradient,
    b_gradient,
    h0_gradient,
    steps,
    width,
    HAS_H_LAST_GRADIENT: tl.constexpr,
    HAS_H0: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < width
    # The carry is g[t+1], where a[T] counts as 1: g[T-1] = dh[T-1] + dh_last.
    carried = tl.zeros([CHANNELS], dtype=tl.float32)
    first = tl.zeros([CHANNELS], dtype=tl.float32)
    if HAS_H_LAST_GRADIENT:
        carried = tl.load(h_last_gradient + row * width + channels, mask=is_channel, other=0.0)
    if HAS_H0:
        first = tl.load(h0 + row * width + channels, mask=is_channel, other=0.0)
    for tile in range(0, tl.cdiv(steps, STEPS)):
        times = (tl.cdiv(steps, STEPS) - 1 - tile) * STEPS + tl.arange(0, STEPS)
        at = (row * steps + times[:, None]) * width + channels[None, :]
        is_in = (times[:, None] < steps) & is_channel[None, :]
        has_next = (times[:, None] + 1 < steps) & is_channel[None, :]
        has_before = (times[:, None] > 0) & is_in
        scale = tl.load(a + at + width, mask=has_next, other=1.0).to(tl.float32)
        shift = tl.load(h_gradient + at, mask=is_in, other=0.0).to(tl.float32)
        before = tl.load(h + at - width, mask=has_before, other=0.0).to(tl.float32)
        before = tl.where(times[:, None] == 0, first[None, :], before)
        g = scan_tile(scale, shift, carried, True)
        tl.store(b_gradient + at, g.to(b_gradient.dtype.element_ty), mask=is_in)
        tl.store(a_gradient + at, (g * before).to(a_gradient.dtype.element_ty), mask=is_in)
        carried = row_of(g, 0, STEPS)
    scale = tl.load(a + row * steps * width + channels, mask=is_channel, other=0.0).to(tl.float32)
    tl.store(h0_gradient + row * width + channels, scale * carried, mask=is_channel)


def forward(a: Tensor, b: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of a, and the last state [B, D]."""
    grid, (batch, steps, width) = grid_of(a), a.shape
    h = a.new_empty(a.shape)
    h_last = a.new_empty((batch, width), dtype=torch.float32)
    _forward[grid](
        a.contiguous(),
        b.contiguous(),
        h_last if h0 is None else h0.contiguous(),
        h,
        h_last,
        steps,
        width,
        HAS_H0=h0 is not None,
        STEPS=STEPS,
        CHANNELS=CHANNELS,
    )
    return h, h_last


def backward(
    h_gradient: Tensor, h_last_gradient: Tensor | None, a: Tensor, h: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and h0."""
    grid, (batch, steps, width) = grid_of(a), a.shape
    a_gradient, b_gradient = a.new_empty(a.shape), a.new_empty(a.shape)
    h0_gradient = a.new_empty((batch, width), dtype=torch.float32)
    _backward[grid](
        h_gradient.contiguous(),
        h0_gradient if h_last_gradient is None else h_last_gradient.contiguous(),
        a.contiguous(),
        h.contiguous(),
        h0_gradient if h0 is None else h0.contiguous(),
        a_gradient,
        b_gradient,
        h0_gradient,
        steps,
        width,
        HAS_H_LAST_GRADIENT=h_last_gradient is not None,
        HAS_H0=h0 is not None,
        STEPS=STEPS,
        CHANNELS=CHANNELS,
    )
    return a_gradient, b_gradient, h0_gradient
