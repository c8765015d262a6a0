"""The exact recurrence in Triton: a program leads some rows of the batch through all of time.

The state and the gradients of the gates pass from step to step through global memory, which the
second-level cache holds: a product needs all channels of them, more than one program's registers.
"""

# mypy: disallow-untyped-defs=False
# (Triton infers the types of what it compiles, and refuses annotations.)

import torch
import triton
import triton.language as tl
from torch import Tensor

from mm_rec.errors import ImplementationError
from mm_rec.ops.exact_recurrence.reference import Inputs, Weights, states_before

ROWS = 16  # of the batch in one program: the least that a matrix product takes
CHANNELS = 32  # of one block


@triton.jit
def _decay(gamma_logit, context_logit):
    """Return gamma before its clamp, and 1 - gamma clamped, all digits kept near gamma = 1."""
    # Below -36, products of exponentials would overflow.
    ex = tl.exp(-tl.maximum(gamma_logit, -36.0))
    ey = tl.exp(-tl.maximum(context_logit, -36.0))
    gamma = 1.0 / ((1.0 + ex) * (1.0 + ey))
    decayed = (ex * ey + (ex + ey)) * gamma
    return gamma, tl.minimum(tl.maximum(decayed, 1e-6), 1.0 - 1e-6)


@triton.jit
def _load(data, rows, t, channels, batch_stride, time_stride, is_in):
    at = rows[:, None] * batch_stride + t * time_stride + channels[None, :]
    return tl.load(data + at, mask=is_in, other=0.0).to(tl.float32)


@triton.jit
def _is_real(is_padding, rows, t, batch, steps, is_in, HAS_PADDING: tl.constexpr):
    if HAS_PADDING:
        padding = tl.load(is_padding + rows * steps + t, mask=rows < batch, other=1)
        is_in = is_in & (padding[:, None] == 0)
    return is_in


@triton.jit
def _forward(
    gamma_logit,
    context_logit,
    mdi_logit,
    z,
    states,
    gate_weight,
    gate_bias,
    mdi_weight,
    is_padding,
    h,
    gates,
    batch_strides,
    time_strides,
    batch,
    steps,
    width,
    HAS_PADDING: tl.constexpr,
    KEEPS_GATES: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    # states: [2, batch, width]; step t reads the one and writes the other.
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    is_row = rows < batch
    for t in range(steps):
        now = states + (t % 2) * batch * width
        after = states + ((t + 1) % 2) * batch * width
        for first in range(0, width, CHANNELS):
            channels = first + tl.arange(0, CHANNELS)
            is_channel = channels < width
            gate = tl.zeros([ROWS, CHANNELS], dtype=tl.float32)
            mdi = tl.zeros([ROWS, CHANNELS], dtype=tl.float32)
            for start in range(0, width, CHANNELS):
                seen = start + tl.arange(0, CHANNELS)
                is_seen = seen < width
                state = tl.load(
                    now + rows[:, None] * width + seen[None, :],
                    mask=is_row[:, None] & is_seen[None, :],
                    other=0.0,
                )
                at = channels[None, :] * width + seen[:, None]
                is_weight = is_channel[None, :] & is_seen[:, None]
                weight = tl.load(gate_weight + at, mask=is_weight, other=0.0)
                gate = tl.dot(state, weight, gate, input_precision="ieee")
                weight = tl.load(mdi_weight + at, mask=is_weight, other=0.0)
                mdi = tl.dot(state, weight, mdi, input_precision="ieee")
            is_in = is_row[:, None] & is_channel[None, :]
            is_real = _is_real(is_padding, rows, t, batch, steps, is_in, HAS_PADDING)
            x = _load(gamma_logit, rows, t, channels, batch_strides[0], time_strides[0], is_real)
            y = _load(context_logit, rows, t, channels, batch_strides[1], time_strides[1], is_real)
            m = _load(mdi_logit, rows, t, channels, batch_strides[2], time_strides[2], is_real)
            value = _load(z, rows, t, channels, batch_strides[3], time_strides[3], is_real)
            gate += tl.load(gate_bias + channels, mask=is_channel, other=0.0)[None, :]
            mdi += m
            _, decayed = _decay(x, y)
            update = tl.where(is_real, decayed * tl.sigmoid(mdi), 0.0)
            own = rows[:, None] * width + channels[None, :]
            old = tl.load(now + own, mask=is_in, other=0.0)
            new = old + update * (tl.sigmoid(gate) * value - old)
            tl.store(after + own, new, mask=is_in)
            at = (rows[:, None] * steps + t) * width + channels[None, :]
            tl.store(h + at, new.to(h.dtype.element_ty), mask=is_in)
            if KEEPS_GATES:
                at = (rows[:, None] * steps + t) * 2 * width + channels[None, :]
                gate = tl.where(is_real, gate, 0.0).to(gates.dtype.element_ty)
                mdi = tl.where(is_real, mdi, 0.0).to(gates.dtype.element_ty)
                tl.store(gates + at, gate, mask=is_in)
                tl.store(gates + at + width, mdi, mask=is_in)
        # What other threads of this program stored is read in the next step.
        tl.debug_barrier()


@triton.jit
def _backward(
    h_gradient,
    gamma_logit,
    context_logit,
    z,
    before,
    gates,
    gate_weight,
    mdi_weight,
    is_padding,
    gamma_gradient,
    context_gradient,
    z_gradient,
    gates_gradient,
    gates_carry,
    carried,
    batch_strides,
    time_strides,
    batch,
    steps,
    width,
    HAS_PADDING: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    # carried: [batch, width], the gradient of the state; gates_carry: [batch, 2 width], of the
    # gates of one step, in float32.
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    is_row = rows < batch
    for step in range(steps):
        t = steps - 1 - step
        for first in range(0, width, CHANNELS):
            channels = first + tl.arange(0, CHANNELS)
            is_in = is_row[:, None] & (channels < width)[None, :]
            is_real = _is_real(is_padding, rows, t, batch, steps, is_in, HAS_PADDING)
            own = rows[:, None] * width + channels[None, :]
            g = tl.load(carried + own, mask=is_in, other=0.0)
            g += _load(h_gradient, rows, t, channels, steps * width, width, is_in)
            x = _load(gamma_logit, rows, t, channels, batch_strides[0], time_strides[0], is_real)
            y = _load(context_logit, rows, t, channels, batch_strides[1], time_strides[1], is_real)
            value = _load(z, rows, t, channels, batch_strides[2], time_strides[2], is_real)
            old = _load(before, rows, t, channels, steps * width, width, is_in)
            gate = _load(gates, rows, t, channels, 2 * steps * width, 2 * width, is_in)
            mdi = _load(gates + width, rows, t, channels, 2 * steps * width, 2 * width, is_in)
            gamma, decayed = _decay(x, y)
            gate, mdi = tl.sigmoid(gate), tl.sigmoid(mdi)
            update = tl.where(is_real, decayed * mdi, 0.0)
            by_update = tl.where(is_real, g * (gate * value - old), 0.0)
            dz = g * update * gate
            # A clamped gamma has no gradient.
            is_inside = (decayed > 1e-6) & (decayed < 1.0 - 1e-6)
            dgamma = tl.where(is_inside, -by_update * mdi * gamma, 0.0)
            dgate = dz * value * (1.0 - gate)
            dmdi = by_update * update * (1.0 - mdi)
            at = (rows[:, None] * steps + t) * width + channels[None, :]
            element = z_gradient.dtype.element_ty
            tl.store(gamma_gradient + at, (dgamma * tl.sigmoid(-x)).to(element), mask=is_in)
            tl.store(context_gradient + at, (dgamma * tl.sigmoid(-y)).to(element), mask=is_in)
            tl.store(z_gradient + at, dz.to(element), mask=is_in)
            at = (rows[:, None] * steps + t) * 2 * width + channels[None, :]
            tl.store(gates_gradient + at, dgate.to(element), mask=is_in)
            tl.store(gates_gradient + at + width, dmdi.to(element), mask=is_in)
            at = rows[:, None] * 2 * width + channels[None, :]
            tl.store(gates_carry + at, dgate, mask=is_in)
            tl.store(gates_carry + at + width, dmdi, mask=is_in)
            tl.store(carried + own, g - update * g, mask=is_in)
        tl.debug_barrier()
        for first in range(0, width, CHANNELS):
            channels = first + tl.arange(0, CHANNELS)
            is_channel = channels < width
            total = tl.zeros([ROWS, CHANNELS], dtype=tl.float32)
            for start in range(0, width, CHANNELS):
                seen = start + tl.arange(0, CHANNELS)
                is_seen = seen < width
                at = rows[:, None] * 2 * width + seen[None, :]
                is_gate = is_row[:, None] & is_seen[None, :]
                dgate = tl.load(gates_carry + at, mask=is_gate, other=0.0)
                dmdi = tl.load(gates_carry + at + width, mask=is_gate, other=0.0)
                at = seen[:, None] * width + channels[None, :]
                is_weight = is_seen[:, None] & is_channel[None, :]
                weight = tl.load(gate_weight + at, mask=is_weight, other=0.0)
                total = tl.dot(dgate, weight, total, input_precision="ieee")
                weight = tl.load(mdi_weight + at, mask=is_weight, other=0.0)
                total = tl.dot(dmdi, weight, total, input_precision="ieee")
            is_in = is_row[:, None] & is_channel[None, :]
            own = rows[:, None] * width + channels[None, :]
            total += tl.load(carried + own, mask=is_in, other=0.0)
            tl.store(carried + own, total, mask=is_in)
        tl.debug_barrier()


def forward(
    inputs: Inputs,
    h0: Tensor | None,
    weights: Weights,
    is_padding: Tensor | None,
    keeps_gates: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, the last state [B, D], and the gates.

    The gates are what the two sigmoids see, input gate first, [B, T, 2D]; empty unless kept.
    """
    z = inputs[3]
    (batch, steps, width), grid = z.shape, _grid_of(z)
    rows = [_rows(value) for value in inputs]
    states = z.new_zeros((2, batch, width), dtype=torch.float32)
    if h0 is not None:
        states[0] = h0
    h = z.new_empty(z.shape)
    gates = z.new_empty((batch, steps, 2 * width) if keeps_gates else 0)
    _forward[grid](
        *rows,
        states,
        *(value.contiguous() for value in weights),
        states if is_padding is None else is_padding.contiguous(),
        h,
        gates,
        tuple(value.stride(0) for value in rows),
        tuple(value.stride(1) for value in rows),
        batch,
        steps,
        width,
        HAS_PADDING=is_padding is not None,
        KEEPS_GATES=keeps_gates,
        ROWS=ROWS,
        CHANNELS=CHANNELS,
    )
    return h, states[steps % 2].clone(), gates


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: Inputs,
    h0: Tensor | None,
    weights: Weights,
    is_padding: Tensor | None,
    h: Tensor,
    gates: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of gamma_logit, context_logit, z, the gates and h0."""
    gamma_logit, context_logit, _, z = inputs
    (batch, steps, width), grid = z.shape, _grid_of(z)
    rows = [_rows(value) for value in (gamma_logit, context_logit, z)]
    gradients = [z.new_empty(z.shape) for _ in rows]
    gates_gradient = z.new_empty((batch, steps, 2 * width))
    carried = z.new_zeros((batch, width), dtype=torch.float32)
    if h_last_gradient is not None:
        carried.copy_(h_last_gradient)
    _backward[grid](
        h_gradient.contiguous(),
        *rows,
        states_before(h, h0),
        gates.contiguous(),
        weights[0].contiguous(),
        weights[2].contiguous(),
        carried if is_padding is None else is_padding.contiguous(),
        *gradients,
        gates_gradient,
        carried.new_empty((batch, 2 * width)),
        carried,
        tuple(value.stride(0) for value in rows),
        tuple(value.stride(1) for value in rows),
        batch,
        steps,
        width,
        HAS_PADDING=is_padding is not None,
        ROWS=ROWS,
        CHANNELS=CHANNELS,
    )
    return gradients[0], gradients[1], gradients[2], gates_gradient, carried


def _grid_of(sequence: Tensor) -> tuple[int]:
    """Return the programs for a sequence [B, T, D].

    Raises:
        ImplementationError: the sequence is not where Triton can run.
    """
    if sequence.device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise ImplementationError(
            f"implementation='triton' takes CUDA tensors, not {sequence.device.type}; move them, "
            "or set TRITON_INTERPRET=1 before the first import of triton to run its interpreter."
        )
    return (triton.cdiv(sequence.shape[0], ROWS),)


def _rows(sequence: Tensor) -> Tensor:
    return sequence if sequence.stride(-1) == 1 else sequence.contiguous()
