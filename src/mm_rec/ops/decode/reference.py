"""One decoding step in plain PyTorch: the truth for the faster forms.

Source: the formulas of one block, in docs/math.md, for a single token.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, rms_norm, silu

from mm_rec.ops.decode.weights import DecodeState, DecodeWeights
from mm_rec.ops.exact_recurrence.reference import DECAY_MARGIN
from mm_rec.ops.gated_recurrence.reference import scale_input
from mm_rec.ops.memory.reference import memory_step

# Takes query, priority logit, previous key and value [B, D], memory, decay [M] and bank weights
# [M, H]; returns the context [B, D] and updates the memory in place.
ReadMemory = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


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

    query, previous_key, value: [B, D]; priority_logit: [B, pe_dim]; memory: [B, M, H, d, d];
    decay: [M], what a step leaves of each bank; bank_weights: [M, H].
    """
    heads, width = memory.shape[2], memory.shape[-1]
    gate = torch.sigmoid(priority_logit)
    gate = gate.repeat_interleave(query.shape[-1] // gate.shape[-1], dim=-1)
    query, key, value = (
        tensor.to(memory.dtype).unflatten(-1, (heads, width))
        for tensor in (query, gate * previous_key, value)
    )
    read, new_memory = memory_step(query, key, value, memory, decay)
    memory.copy_(new_memory)
    read = rms_norm(read, (width,), eps=float(width))
    return torch.einsum("bmhd,mh->bhd", read, bank_weights.to(read.dtype)).flatten(1)


@torch.no_grad()
def decode_step(
    weights: DecodeWeights,
    ids: Tensor,
    state: DecodeState,
    read_memory: ReadMemory = read_memory_step,
) -> Tensor:
    """Return the logits [B, V] after one more token of each text; `state` is updated in place.

    ids: [B], int64, in [0, V). Any floating dtype; the gates and states are computed in the
    dtype of the state.
    """
    x = weights.embedding[ids]
    time_scales = torch.tensor(weights.time_scales, dtype=state.memory.dtype, device=x.device)
    decay = torch.exp(-1 / time_scales)
    for layer, *layer_state in zip(weights.layers, *state, strict=True):
        x = _block(layer, x, DecodeState(*layer_state), decay, weights, read_memory)
    return linear(_norm(x, weights.norm, weights), weights.embedding)


def _block(
    layer: dict[str, Tensor],
    x: Tensor,
    state: DecodeState,
    decay: Tensor,
    weights: DecodeWeights,
    read_memory: ReadMemory,
) -> Tensor:
    """Return the output of one block [B, D]; `state` is that of this layer."""

    def product(name: str, value: Tensor) -> Tensor:
        return linear(value, layer[f"{name}.weight"], layer.get(f"{name}.bias"))

    u = _norm(x, layer["norm1"], weights)
    k, z = product("k", u), product("z", u)
    mixed = _advance(product, z, k, state, weights.input_scale)
    if weights.time_scales:
        query = product("query", mixed) + product("q", u)
        banks = layer.get("bank_weights")
        if banks is None:
            banks = torch.ones(1, weights.num_heads, device=x.device)
        context = read_memory(
            query, product("p", u), state.key, product("v", u), state.memory, decay, banks
        )
        mixed = mixed + context.to(mixed.dtype)
    state.gate_input.copy_(state.hidden if weights.is_exact else z)
    state.key.copy_(k)
    mixed = rms_norm(mixed, mixed.shape[-1:], eps=weights.norm_eps)
    y = x + product("output", mixed * silu(product("e", u)))
    return y + product("ffn_down", gelu(product("ffn_up", _norm(y, layer["norm2"], weights))))


def _advance(
    product: Callable[[str, Tensor], Tensor],
    z: Tensor,
    k: Tensor,
    state: DecodeState,
    input_scale: str,
) -> Tensor:
    """Return the short-term state after this token [B, D], and keep it."""
    wide = state.hidden.dtype
    gamma_logit = product("gamma_up", gelu(product("gamma_down", z)))
    context_logit = product("context_up", gelu(product("context_down", k)))
    seen = state.gate_input.to(z.dtype)
    input_gate = torch.sigmoid(product("input_gate", seen).to(wide))
    mdi_gate = torch.sigmoid((product("mdi_input", z) + product("mdi_state", seen)).to(wide))
    gamma = torch.sigmoid(gamma_logit.to(wide)) * torch.sigmoid(context_logit.to(wide))
    update = (1 - gamma.clamp(DECAY_MARGIN, 1 - DECAY_MARGIN)) * mdi_gate
    scale, _ = scale_input(update, input_scale)
    state.hidden.copy_((1 - update) * state.hidden + scale * input_gate * z.to(wide))
    return state.hidden.to(z.dtype)


def _norm(x: Tensor, weight: Tensor, weights: DecodeWeights) -> Tensor:
    return rms_norm(x, x.shape[-1:], weight, weights.norm_eps)
