"""What the Triton kernels share: a scan of h -> scale * h + shift over one tile of time.

A program walks one batch row and a block of channels, a tile of steps at a time; inside a tile the
steps are combined in parallel, between tiles the state is carried in registers in float32.
"""

# mypy: disallow-untyped-defs=False
# (Triton infers the types of what it compiles, and refuses annotations.)

import torch
import triton
import triton.language as tl

from mm_rec.errors import ImplementationError

STEPS = 32  # of a tile
CHANNELS = 32  # of a block


@triton.jit
def _compose(first_scale, first_shift, second_scale, second_shift):
    return first_scale * second_scale, second_scale * first_shift + second_shift


@triton.jit
def scan_tile(scale, shift, state, REVERSE: tl.constexpr):
    """Return the states after each step of a tile [steps, channels], entered with `state`.

    With REVERSE, steps run from the last row to the first.
    """
    scales, shifts = tl.associative_scan((scale, shift), 0, _compose, reverse=REVERSE)
    return scales * state[None, :] + shifts


@triton.jit
def row_of(tile, row, STEPS: tl.constexpr):
    """Return one row of a tile [steps, channels]."""
    rows = tl.arange(0, STEPS)[:, None]
    return tl.sum(tl.where(rows == row, tile, 0.0), axis=0)


def grid_of(sequence: torch.Tensor) -> tuple[int, int]:
    """Return the programs for a sequence [B, T, D]: batch rows and blocks of channels.

    Raises:
        ImplementationError: the sequence is not where Triton can run.
    """
    if sequence.device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise ImplementationError(
            f"implementation='triton' takes CUDA tensors, not {sequence.device.type}; move them, "
            "or set TRITON_INTERPRET=1 before the first import of triton to run its interpreter."
        )
    return sequence.shape[0], triton.cdiv(sequence.shape[2], CHANNELS)
