"""Networks in the form that OpenVINO's conversion follows, where networks.py has another."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ivme.engines.networks import Network, _cache_of, _flatten, encoder_inputs, encoder_network

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.models.pooling import Pooling

Pick = Callable[[Tensor, Tensor], Tensor]  # ids [B, T], mask [B, T] -> positions [B]


def openvino_encoder_network(model: "LoadedModel") -> nn.Module:
    """Return networks.encoder_network, with single positions picked in a way that is followed."""
    names = encoder_inputs(model)
    if model.kind == "masked":
        token = model.tokenizer.mask_token_id
        return AtPosition(model.model, names, lambda ids, _: (ids == token).int().argmax(dim=1))
    if model.pooling is not None and model.pooling.mode != "mean":
        return AtPosition(model.model, names, _end_of_text(model.pooling), model.pooling)
    return encoder_network(model)


def _end_of_text(pooling: "Pooling") -> Pick:
    """Return a function to the position of each row's first or last token."""
    if pooling.mode == "first":
        return lambda _, mask: mask.argmax(dim=1)
    return lambda _, mask: mask.argmax(dim=1) + mask.sum(dim=1) - 1


class AtPosition(Network):
    """What a network puts out at one position of each row: [B, vocabulary] or vectors [B, D].

    Picked by `gather`: rows numbered by `len` of a tensor are the traced example's for ever.
    """

    def __init__(
        self,
        network: nn.Module,
        names: tuple[str, ...],
        pick: Pick,
        pooling: "Pooling | None" = None,
    ) -> None:
        super().__init__(network)
        self.names, self.pick, self.pooling = names, pick, pooling

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the picked rows; inputs: in the order of `names`, each [B, T]."""
        named = dict(zip(self.names, inputs, strict=True))
        output = self.network(**named)[0]  # logits or the last hidden state, [B, T, D]
        positions = self.pick(named["input_ids"], named["attention_mask"])
        index = positions[:, None, None].expand(-1, 1, output.shape[2])
        picked = output.gather(1, index)[:, 0]
        if self.pooling is not None and self.pooling.is_normalized:
            return nn.functional.normalize(picked, dim=-1)
        return picked


class Seq2seqEncoder(Network):
    """Token ids to what the decoder's cross-attention reads, as networks.Seq2seqEncoder.

    Its caches begin as states of length 0, not as nothing: Transformers then concatenates to a
    vector without elements, which OpenVINO's conversion takes by its rank and refuses.
    """

    def __init__(self, network: nn.Module, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__(network)
        self.shapes = shapes

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return key and value of each decoder layer in turn, [B, H, S, D]; inputs: [B, S]."""
        from transformers import EncoderDecoderCache

        rows = input_ids.shape[0]
        empty = [torch.zeros((rows, heads, 0, size)) for heads, size in self.shapes]
        cache = EncoderDecoderCache(_cache_of(empty), _cache_of(empty))
        cache.is_updated = dict.fromkeys(range(len(self.shapes) // 2), False)
        self.network(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids[:, :1],
            past_key_values=cache,
            use_cache=True,
        )
        return _flatten(cache.cross_attention_cache)
