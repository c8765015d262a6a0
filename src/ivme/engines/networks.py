"""Models as plain functions of tensors, the form that compilers and exporters take.

What an engine does beside the network (pooling, picking the mask) is part of it, so that one
exported file answers alone.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.models.pooling import Pooling

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Classifier(nn.Module):
    """[B, T] ids and mask to logits [B, labels]."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits [B, labels]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        logits: Tensor = self.network(**named).logits
        return logits


class Embedding(nn.Module):
    """[B, T] ids and mask to pooled vectors [B, D]."""

    def __init__(self, network: nn.Module, names: tuple[str, ...], pooling: "Pooling") -> None:
        super().__init__()
        self.network, self.names, self.pooling = network, names, pooling

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return vectors [B, D]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        hidden = self.network(**named).last_hidden_state
        return self.pooling.apply(hidden, named["attention_mask"])


class Masked(nn.Module):
    """[B, T] ids and mask to logits [B, vocabulary] at the first mask of each row."""

    def __init__(self, network: nn.Module, names: tuple[str, ...], mask_token_id: int) -> None:
        super().__init__()
        self.network, self.names, self.mask_token_id = network, names, mask_token_id

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits [B, vocabulary]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        logits = self.network(**named).logits
        columns = (named["input_ids"] == self.mask_token_id).int().argmax(dim=1)
        rows = torch.arange(len(columns), device=columns.device)
        picked: Tensor = logits[rows, columns]
        return picked


def encoder_inputs(model: "LoadedModel") -> tuple[str, ...]:
    """Return the inputs that the model takes of those its tokenizer makes, in a fixed order."""
    made = set(model.tokenizer.model_input_names)
    return tuple(name for name in INPUTS if name in made or name != "token_type_ids")


def encoder_network(model: "LoadedModel") -> nn.Module:
    """Return the function from token ids to answers of a classifier, masked or embedding model."""
    names = encoder_inputs(model)
    if model.kind == "classifier":
        return Classifier(model.model, names)
    if model.kind == "masked":
        return Masked(model.model, names, model.tokenizer.mask_token_id)
    assert model.kind == "embedding"
    assert model.pooling is not None
    return Embedding(model.model, names, model.pooling)
