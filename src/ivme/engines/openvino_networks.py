"""Networks in the form that OpenVINO's conversion follows, where networks.py has another."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ivme.engines.networks import Network, _cache_of, _flatten


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
