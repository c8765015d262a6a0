"""One decoding step with the long-term memory in one Triton kernel: for CUDA.

The products stay with the library's; what they leave to many small operations, writing and reading
every bank, is one pass over the memory.
"""

# mypy: disallow-untyped-defs=False
# (Triton infers the types of what it compiles, and refuses annotations.)

import torch
import triton
import triton.language as tl
from torch import Tensor

from mm_rec.errors import ImplementationError
from mm_rec.ops.decode import reference
from mm_rec.ops.decode.weights import DecodeState, DecodeWeights


def decode_step(weights: DecodeWeights, ids: Tensor, state: DecodeState) -> Tensor:
    """Return the logits [B, V] after one more token of each text; `state` is updated in place.

    ids: [B], int64, in [0, V). Memory and hidden state are fp32.
    Raises ImplementationError where Triton cannot run.
    """
    return reference.decode_step(weights, ids, state, read_memory=read_memory_step)


def read_memory_step(
    query: Tensor,
    priority_logit: Tensor,
    previous_key: Tensor,
    value: Tensor,
    memory: Tensor,
    decay: Tensor,
    bank_weights: Tensor,
) -> Tensor:
    """Return what one token reads from all banks [B, D]; `memory` is updated in place.

    query, previous_key, value: [B, D]; priority_logit: [B, pe_dim]; memory: [B, M, H, d, d],
    contiguous; decay: [M]; bank_weights: [M, H].
    """
    if query.device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise ImplementationError(
            f"implementation='triton' takes CUDA tensors, not {query.device.type}; move the model, "
            "or set TRITON_INTERPRET=1 before the first import of triton to run its interpreter."
        )
    batch, banks, heads, width, _ = memory.shape
    context = torch.empty_like(query, memory_format=torch.contiguous_format)
    _write_and_read[(batch, heads)](
        query.contiguous(),
        priority_logit.contiguous(),
        previous_key.contiguous(),
        value.contiguous(),
        memory,
        decay,
        bank_weights.contiguous(),
        context,
        heads,
        width,
        priority_logit.shape[-1],
        BANKS=banks,
        WIDTH=triton.next_power_of_2(width),
    )
    return context


@triton.jit
def _write_and_read(
    query,
    priority_logit,
    previous_key,
    value,
    memory,
    decay,
    bank_weights,
    context,
    heads,
    width,
    priority_width,
    BANKS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One program for each text and head; all banks, one after the other."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    places = tl.arange(0, WIDTH)
    is_in = places < width
    channels = head * width + places
    at = row * heads * width + channels
    group = channels * priority_width // (heads * width)
    logit = tl.load(priority_logit + row * priority_width + group, mask=is_in, other=0.0)
    key = tl.load(previous_key + at, mask=is_in, other=0.0).to(tl.float32)
    key = key * tl.sigmoid(logit.to(tl.float32))
    v = tl.load(value + at, mask=is_in, other=0.0).to(tl.float32)
    q = tl.load(query + at, mask=is_in, other=0.0).to(tl.float32)
    write = key[:, None] * v[None, :]
    is_inside = is_in[:, None] & is_in[None, :]
    total = tl.zeros([WIDTH], tl.float32)
    for bank in tl.static_range(BANKS):
        first = ((row * BANKS + bank) * heads + head) * width * width
        cells = memory + first + places[:, None] * width + places[None, :]
        kept = tl.load(cells, mask=is_inside, other=0.0) * tl.load(decay + bank) + write
        tl.store(cells, kept, mask=is_inside)
        read = tl.sum(q[:, None] * kept, axis=0)
        mean = tl.sum(read * read, axis=0) / width
        weight = tl.load(bank_weights + bank * heads + head).to(tl.float32)
        total += read * (weight / tl.sqrt(mean + width))
    tl.store(context + at, total.to(context.dtype.element_ty), mask=is_in)
