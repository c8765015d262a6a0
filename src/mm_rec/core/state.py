"""What an MM-Rec model carries from one token to the next: constant in size at any length."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mm_rec.configuration import MMRecConfig
from mm_rec.errors import ShapeError


class LayerState(NamedTuple):
    """The state of one layer after the last token; zeros before the first.

    gate_input: [B, D], what the gates see next: z, or h where the recurrence is exact.
    key: [B, D], the key that the next write uses. hidden: [B, D], the short-term state h.
    memory: [B, M, H, d, d], the long-term memory of every bank and head.
    """

    gate_input: Tensor
    key: Tensor
    hidden: Tensor
    memory: Tensor


@dataclass
class MMRecState:
    """The states of all layers; also the cache object that `generate()` carries.

    A forward pass returns a new state and leaves the given one as it was.
    """

    layers: tuple[LayerState, ...]

    # What generate() asks of a cache: this one can neither be shortened nor be compiled against.
    is_compileable = False
    is_croppable = False

    @classmethod
    def initial(
        cls,
        config: MMRecConfig,
        batch_size: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "MMRecState":
        """Return the state before the first token; h and memory are never narrower than fp32."""
        wide = torch.promote_types(dtype, torch.float32)
        shapes = layer_shapes(config, batch_size)
        narrow = ("gate_input", "key")

        def zeros(name: str) -> Tensor:
            width = dtype if name in narrow else wide
            return torch.zeros(shapes[name], device=device, dtype=width)

        return cls(
            tuple(LayerState(*map(zeros, LayerState._fields)) for _ in range(config.num_layers))
        )

    @property
    def batch_size(self) -> int:
        """Number of texts that the state belongs to."""
        return self.layers[0].hidden.shape[0]

    def detach(self) -> "MMRecState":
        """Return the state without its history, as truncated backpropagation carries it."""
        return MMRecState(tuple(LayerState(*(t.detach() for t in layer)) for layer in self.layers))

    def to(self, device: torch.device | str) -> "MMRecState":
        """Return the state on a device."""
        return MMRecState(
            tuple(LayerState(*(t.to(device) for t in layer)) for layer in self.layers)
        )

    def select(self, rows: Tensor) -> "MMRecState":
        """Return the state of the given rows of the batch, in that order; rows may repeat."""
        return MMRecState(
            tuple(LayerState(*(t.index_select(0, rows) for t in layer)) for layer in self.layers)
        )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the state of the given rows; beam search calls it between two steps."""
        self.layers = self.select(beam_idx.to(self.layers[0].hidden.device)).layers


def layer_shapes(config: MMRecConfig, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in the state of one layer."""
    vector = (batch_size, config.model_dim)
    matrix = (batch_size, config.num_memories, config.num_heads, config.head_dim, config.head_dim)
    return {"gate_input": vector, "key": vector, "hidden": vector, "memory": matrix}


def check_state(state: MMRecState, config: MMRecConfig, batch_size: int) -> None:
    """Raise ShapeError if the state is not that of such a model and batch."""
    if not isinstance(state, MMRecState):
        raise ShapeError(
            f"state is a {type(state).__name__}; expected an MMRecState that this model returned."
        )
    if len(state.layers) != config.num_layers:
        raise ShapeError(
            f"state has {len(state.layers)} layers; expected {config.num_layers}. "
            "Pass a state that this model returned."
        )
    shapes = layer_shapes(config, batch_size)
    for layer in state.layers:
        for name, tensor in zip(LayerState._fields, layer, strict=True):
            if tuple(tensor.shape) != shapes[name]:
                raise ShapeError(
                    f"state.{name} has shape {tuple(tensor.shape)}; expected {shapes[name]} for "
                    f"batch_size={batch_size}. Pass a state that this model returned."
                )
