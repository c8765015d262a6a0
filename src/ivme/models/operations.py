"""Floating-point operations of a call, for figures in percent of what the machine can do."""

import copy
from typing import TYPE_CHECKING, Any

from ivme.models.kinds import GENERATING

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel


def forward_flops(
    model: "LoadedModel", batch_size: int, tokens: int, *, new_tokens: int = 16
) -> float | None:
    """Return the floating-point operations of one call on [batch_size, tokens], padding included.

    A multiplication and an addition count as two. Counted are matrix products, those of attention
    in full, causal or not; generating models run the text once and then `new_tokens` - 1 steps
    with their cache. A copy without memory (torch's meta device) is run, so that nothing is
    computed. None: this architecture decides by values, and so cannot be counted that way.
    """
    from ivme.models.quiet import quiet_libraries

    try:
        with quiet_libraries():
            count = _FlopCount(model, batch_size, tokens)
            if model.kind in GENERATING:
                return _generation(count, new_tokens)
            return count.plain()
    except (RuntimeError, NotImplementedError):  # what torch raises for values of meta tensors
        return None


def _generation(count: "_FlopCount", new_tokens: int) -> float:
    """Return the operations for `new_tokens` tokens: each step adds the same to the one before."""
    first, second, third = count.steps(3)
    later, growth = new_tokens - 1, third - second
    return first + later * second + growth * later * (later - 1) / 2


class _FlopCount:
    """A copy of the model without memory, and an input of one shape."""

    def __init__(self, model: "LoadedModel", batch_size: int, tokens: int) -> None:
        import torch

        config = copy.deepcopy(model.model.config)
        if model.kind == "causal":
            config.pad_token_id = None  # else the model looks for padding among the values
        with torch.device("meta"):
            self.network = type(model.model)._from_config(config, attn_implementation="eager")
            self.ids = torch.zeros(batch_size, tokens, dtype=torch.long)
        self.network.eval()
        self.is_seq2seq = model.kind == "seq2seq"

    def plain(self) -> float:
        """Return the operations of one forward pass."""
        return self._count(lambda: self.network(input_ids=self.ids))

    def steps(self, number: int) -> list[float]:
        """Return the operations of the first pass, and of each step of one token after it."""
        counts: list[float] = []
        state: dict[str, Any] = {}

        def step() -> None:
            output = self.network(**self._inputs(state), use_cache=True)
            state["past_key_values"] = output.past_key_values

        def start() -> None:
            if self.is_seq2seq:
                state["encoder_outputs"] = self.network.get_encoder()(input_ids=self.ids)
            step()

        for at in range(number):
            counts.append(self._count(start if at == 0 else step))
        return counts

    def _inputs(self, state: dict[str, Any]) -> dict[str, Any]:
        one = self.ids[:, :1]
        if self.is_seq2seq:
            return {"decoder_input_ids": one, **state}
        if state:
            return {"input_ids": one, **state}
        return {"input_ids": self.ids, "logits_to_keep": 1}

    def _count(self, run: Any) -> float:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops())
