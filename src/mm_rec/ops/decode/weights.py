"""What a decoding step takes: the weights of a model by name, and the states of all layers."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class DecodeState(NamedTuple):
    """The states of all layers, which a step updates in place.

    gate_input, key, hidden: [L, B, D]; memory: [L, B, M, H, d, d], keys by values.
    """

    gate_input: Tensor
    key: Tensor
    hidden: Tensor
    memory: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeWeights:
    """A model's weights, not copied: what changes in the model changes here.

    embedding: [V, D], also the head; norm: [D], before the head. layers: by name, "NAME.weight"
    [outputs, inputs] and "NAME.bias", of k, z, e, gamma_down, gamma_up, context_down, context_up,
    input_gate, mdi_input, mdi_state (no bias), output, ffn_up, ffn_down; "norm1" and "norm2" [D];
    with memory also q, v, p, query, and with several banks "bank_weights" [M, H].
    """

    embedding: Tensor
    norm: Tensor
    layers: tuple[dict[str, Tensor], ...]
    num_heads: int
    time_scales: tuple[float, ...]  # of the memory banks, in tokens
    norm_eps: float
    is_exact: bool  # gates see h, not z
    input_scale: str  # of the short-term state, one of INPUT_SCALES
    bound: dict[str, Any] = field(default_factory=dict)  # what an implementation keeps for these
