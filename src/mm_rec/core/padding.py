"""Padding: rows are packed to the left before the blocks run, and put back afterwards.

Inside the model real tokens come first in every row, so a mask is no more than a length, and the
token before a token is its neighbor, wherever the padding was.
"""

import torch
from torch import Tensor

from mm_rec.errors import ShapeError


class Packing:
    """The order that brings the real tokens of a batch to the front of each row.

    Attributes: lengths [B], real tokens in each row; is_padding [B, T], True behind them after
    packing.
    """

    def __init__(self, attention_mask: Tensor) -> None:
        present = attention_mask.bool()
        self.order = torch.argsort((~present).to(torch.uint8), dim=-1, stable=True)
        self.lengths = present.sum(-1)
        places = torch.arange(present.shape[1], device=present.device)
        self.is_padding = places >= self.lengths.unsqueeze(-1)

    def pack(self, sequence: Tensor) -> Tensor:
        """Return [B, T, D] with the real tokens first."""
        return sequence.gather(1, self.order.unsqueeze(-1).expand_as(sequence))

    def unpack(self, sequence: Tensor) -> Tensor:
        """Return [B, T, D] with every token back in its place, and zeros in the padding."""
        back = torch.argsort(self.order, dim=-1).unsqueeze(-1).expand_as(sequence)
        return sequence.masked_fill(self.is_padding.unsqueeze(-1), 0).gather(1, back)


def packing_of(attention_mask: Tensor | None, input_shape: torch.Size) -> Packing | None:
    """Return how to pack a batch, or None where there is no padding.

    attention_mask: [B, T] or, as `generate()` keeps it, [B, past + T]: its last T columns count.
    Raises ShapeError if it does not fit the input [B, T].
    """
    if attention_mask is None:
        return None
    batch, steps = input_shape
    if (
        attention_mask.ndim != 2
        or attention_mask.shape[0] != batch
        or attention_mask.shape[1] < steps
    ):
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; expected "
            f"({batch}, {steps}) like input_ids, or more columns for what came before."
        )
    attention_mask = attention_mask[:, -steps:]
    if not torch.compiler.is_compiling() and bool(attention_mask.all()):
        return None
    return Packing(attention_mask)
