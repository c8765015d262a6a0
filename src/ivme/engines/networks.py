"""Models as plain functions of tensors, the form that compilers and exporters take.

What an engine does beside the network (pooling, picking the mask) is part of it, so that one
exported file answers alone.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ivme.errors import RefusedError

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.models.pooling import Pooling

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Network(nn.Module):
    """A model's function, in evaluation mode like the model itself.

    A wrapper left in training mode, as modules start, would have exporters put the whole model
    back into training mode when they are done: dropout in every later answer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()


class Classifier(Network):
    """[B, T] ids and mask to logits [B, labels]."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__(network)
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits [B, labels]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        logits: Tensor = self.network(**named).logits
        return logits


class Embedding(Network):
    """[B, T] ids and mask to pooled vectors [B, D]."""

    def __init__(self, network: nn.Module, names: tuple[str, ...], pooling: "Pooling") -> None:
        super().__init__(network)
        self.names, self.pooling = names, pooling

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return vectors [B, D]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        hidden = self.network(**named).last_hidden_state
        return self.pooling.apply(hidden, named["attention_mask"])


class Masked(Network):
    """[B, T] ids and mask to logits [B, vocabulary] at the first mask of each row."""

    def __init__(self, network: nn.Module, names: tuple[str, ...], mask_token_id: int) -> None:
        super().__init__(network)
        self.names, self.mask_token_id = names, mask_token_id

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits [B, vocabulary]; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        logits = self.network(**named).logits
        columns = (named["input_ids"] == self.mask_token_id).int().argmax(dim=1)
        rows = torch.arange(columns.shape[0], device=columns.device)  # len() is fixed by tracing
        picked: Tensor = logits[rows, columns]
        return picked


def encoder_inputs(model: "LoadedModel") -> tuple[str, ...]:
    """Return the inputs that the model takes of those its tokenizer makes, in a fixed order.

    A tokenizer may make token types for a model that has none, and takes them among `**kwargs`.
    """
    made = set(model.tokenizer.model_input_names)
    taken = inspect.signature(model.model.forward).parameters
    has_types = "token_type_ids" in made and "token_type_ids" in taken
    return tuple(name for name in INPUTS if has_types or name != "token_type_ids")


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


class CausalStep(Network):
    """Token ids and the keys and values of all tokens before them to the next token's logits.

    One function is both prefill (nothing before: states of length 0) and decoding (one new token).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        taken = inspect.signature(network.forward).parameters
        self.takes_positions = "position_ids" in taken
        self.takes_logits_to_keep = "logits_to_keep" in taken

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Return logits [B, vocabulary] of the last position, then the longer states.

        input_ids: [B, T], padded on the left; attention_mask: [B, P + T]; past: key and value of
        each layer in turn, [B, H, P, D]; the states returned are [B, H, P + T, D].
        """
        arguments: dict[str, Any] = {}
        if self.takes_positions:
            positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
            arguments["position_ids"] = positions[:, -input_ids.shape[1] :]
        if self.takes_logits_to_keep:
            arguments["logits_to_keep"] = 1
        output = self.network(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=_cache_of(past),
            use_cache=True,
            **arguments,
        )
        return (output.logits[:, -1], *_flatten(output.past_key_values))


class Seq2seqEncoder(Network):
    """Token ids to what the decoder's cross-attention reads: keys and values of each layer.

    Projecting them here, once a text, leaves a decoder that never sees the encoder's output.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return key and value of each decoder layer in turn, [B, H, S, D]; inputs: [B, S]."""
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        # The decoder runs for its projections alone: exporters drop what the result does not use.
        self.network(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids[:, :1],
            past_key_values=cache,
            use_cache=True,
        )
        return _flatten(cache.cross_attention_cache)


class Seq2seqStep(Network):
    """One decoder step: the last token and all states to the next token's logits."""

    def forward(
        self, decoder_input_ids: Tensor, attention_mask: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        """Return logits [B, vocabulary] of the last position, then the longer own states.

        decoder_input_ids: [B, T]; attention_mask: [B, S] of the encoder's tokens; states: the
        decoder's own, [B, H, P, D] (P is 0 at first), then those of the encoder, [B, H, S, D].
        """
        from transformers import EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        own, cross = states[: len(states) // 2], states[len(states) // 2 :]
        cache = EncoderDecoderCache(_cache_of(own), _cache_of(cross))
        # Only its shape is read: keys and values come from the cache.
        cache.is_updated = dict.fromkeys(range(len(cross) // 2), True)
        unread = attention_mask.unsqueeze(-1).to(cross[0].dtype)
        output = self.network(
            encoder_outputs=BaseModelOutput(last_hidden_state=unread),
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return (output.logits[:, -1], *_flatten(cache.self_attention_cache))


def cache_shapes(model: "LoadedModel") -> tuple[tuple[int, int], ...]:
    """Return heads and head size (H, D) of each state of a generating model, in order.

    Seq2seq: of the decoder's own states; those of the cross-attention are as many and alike.

    Raises:
        RefusedError: the model keeps something else than keys and values between tokens.
    """
    from transformers import DynamicCache, EncoderDecoderCache

    device = next(model.model.parameters()).device
    ids = torch.ones((1, 2), dtype=torch.int64, device=device)
    arguments = {"input_ids": ids, "attention_mask": ids, "use_cache": True}
    if model.kind == "seq2seq":
        arguments["decoder_input_ids"] = ids
    with torch.inference_mode():
        cache: Any = getattr(model.model(**arguments), "past_key_values", None)
    if isinstance(cache, EncoderDecoderCache):
        cache = cache.self_attention_cache
    layers = cache.layers if type(cache) is DynamicCache else ()
    if not layers or not all(_is_plain(layer) for layer in layers):
        raise RefusedError(
            f"{model.reference} ({type(model.model).__name__}) does not keep keys and values alone "
            "between tokens, which an exported copy needs; use engine=transformers"
        )
    states = [state for layer in layers for state in (layer.keys, layer.values)]
    return tuple((state.shape[1], state.shape[3]) for state in states)


def _is_plain(layer: Any) -> bool:
    """Return whether a cache layer holds all keys and values and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return type(layer) is DynamicLayer and layer.is_initialized


def _cache_of(states: Sequence[Tensor]) -> Any:
    """Return a cache of these states: key and value of each layer in turn."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for key, value in zip(states[::2], states[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def _flatten(cache: Any) -> tuple[Tensor, ...]:
    return tuple(state for layer in cache.layers for state in (layer.keys, layer.values))
