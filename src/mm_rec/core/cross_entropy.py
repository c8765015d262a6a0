"""Cross-entropy of a linear output head, a block of rows at a time.

The logits of a whole text never lie in memory: each block's gradients are found right after its
loss, while its logits are at hand, and nothing is computed twice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORED_LABEL = -100
LOGITS_PER_BLOCK = 1 << 20  # 4 MiB of fp32: they stay in the cache between the passes over them


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of softmax(hidden weight^T), a scalar of fp32.

    hidden: [N, D]; weight: [V, D]; labels: [N] of int64; rows labeled -100 count nothing. Under
    autocast the products run in its dtype; sums are fp32 or wider.
    """
    total: Tensor = _LinearCrossEntropy.apply(hidden, weight, labels)
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad[:2])
        dtype = _product_dtype(hidden)
        narrow_hidden, narrow_weight = hidden.to(dtype), weight.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_gradients = []
        weight_gradient = torch.zeros_like(narrow_weight, dtype=wide) if needs_gradient else None
        rows = max(1, LOGITS_PER_BLOCK // weight.shape[0])
        for block, targets in zip(narrow_hidden.split(rows), labels.split(rows), strict=True):
            loss, slope = _block_loss((block @ narrow_weight.t()).to(wide), targets)
            total = total + loss
            if weight_gradient is not None:
                slope = slope.to(dtype)
                hidden_gradients.append(slope @ narrow_weight)
                weight_gradient += slope.t() @ block
        if weight_gradient is not None:
            ctx.save_for_backward(
                torch.cat(hidden_gradients).to(hidden.dtype), weight_gradient.to(weight.dtype)
            )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        scale = gradient.to(hidden_gradient.dtype)
        return hidden_gradient * scale, weight_gradient * scale, None


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """Return the dtype that autocast would run a product in."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


def _block_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss of some rows, and its derivative by their logits (in their place)."""
    counts = labels != IGNORED_LABEL
    targets = torch.where(counts, labels, 0).unsqueeze(-1)
    log_total = torch.logsumexp(logits, dim=-1, keepdim=True)
    losses = (log_total - logits.gather(-1, targets)).squeeze(-1)
    slope = logits.sub_(log_total).exp_()
    slope.scatter_add_(-1, targets, slope.new_full(targets.shape, -1.0))
    slope.mul_(counts.unsqueeze(-1))
    return torch.where(counts, losses, 0).sum(), slope
