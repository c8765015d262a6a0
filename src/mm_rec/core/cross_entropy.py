"""Cross-entropy of a linear output head, a block of rows at a time.

The logits of a whole text never lie in memory: each block's gradients are found right after its
loss, while its logits are at hand, and nothing is computed twice.
"""

import math
from typing import Any

import torch
from torch import Tensor

from mm_rec.ops.cross_entropy import IGNORED_LABEL, cross_entropy_
from mm_rec.ops.linear import linear

__all__ = ["IGNORED_LABEL", "linear_cross_entropy"]

LOGITS_PER_BLOCK = 1 << 20  # 4 MiB of fp32: they stay in the cache between the passes over them


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of softmax(hidden weight^T), a scalar of fp32.

    hidden: [N, D]; weight: [V, D]; labels: [N] of int64; rows labeled -100 count nothing. Under
    autocast the products run in its dtype; sums are fp32, or fp64 beside fp64.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    needs_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    total, _, _ = _loss_and_gradients(hidden, weight, labels, needs_gradient)
    return total


@torch.library.custom_op("mm_rec::linear_cross_entropy", mutates_args=())
def _loss_and_gradients(
    hidden: Tensor, weight: Tensor, labels: Tensor, needs_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and its gradients by hidden and weight; these are empty unless needed."""
    hidden_gradient, weight_gradient, wide = _empty_gradients(hidden, weight, needs_gradient)
    turned = None  # the weight's gradient, transposed: hidden is quicker to turn than the slope
    total = torch.zeros((), dtype=wide, device=hidden.device)
    blocks = max(1, math.ceil(len(hidden) * len(weight) / LOGITS_PER_BLOCK))
    rows = max(1, math.ceil(len(hidden) / blocks))
    for start in range(0, len(hidden), rows):
        block = slice(start, start + rows)
        logits = linear(hidden[block], weight)
        total += cross_entropy_(logits, labels[block], needs_gradient).sum()
        if needs_gradient:
            slope = logits  # in their place
            hidden_gradient[block] = linear(slope, weight.t())
            part = linear(hidden[block].t(), slope.t()).to(wide)
            turned = part if turned is None else turned.add_(part)
    if needs_gradient:
        weight_gradient.zero_() if turned is None else weight_gradient.copy_(turned.t())
    return total, hidden_gradient, weight_gradient


@_loss_and_gradients.register_fake
def _(
    hidden: Tensor, weight: Tensor, labels: Tensor, needs_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    hidden_gradient, weight_gradient, wide = _empty_gradients(hidden, weight, needs_gradient)
    return hidden.new_empty((), dtype=wide), hidden_gradient, weight_gradient


def _empty_gradients(
    hidden: Tensor, weight: Tensor, needs_gradient: bool
) -> tuple[Tensor, Tensor, torch.dtype]:
    """Return room for both gradients, and the dtype of sums."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    shapes = (hidden.shape, weight.shape) if needs_gradient else ((0,), (0,))
    return hidden.new_empty(shapes[0]), weight.new_empty(shapes[1], dtype=wide), wide


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    _, hidden_gradient, weight_gradient = output
    ctx.mark_non_differentiable(hidden_gradient, weight_gradient)
    ctx.save_for_backward(hidden_gradient, weight_gradient)
    ctx.weight_dtype = inputs[1].dtype


def _scale_gradients(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, None, None]:
    hidden_gradient, weight_gradient = ctx.saved_tensors
    scaled = (weight_gradient * gradient).to(ctx.weight_dtype)
    return hidden_gradient * gradient.to(hidden_gradient.dtype), scaled, None, None


_loss_and_gradients.register_autograd(_scale_gradients, setup_context=_save)
