"""The cross-entropy by its formulas."""

import torch
from torch import Tensor

from mm_rec.ops.rows import wide_dtype


def forward_(logits: Tensor, labels: Tensor, needs_slope: bool) -> Tensor:
    """Return the loss of each row; the slope takes the place of the logits if needed."""
    counts = labels >= 0
    targets = torch.where(counts, labels, 0).unsqueeze(-1)
    wide = logits.to(wide_dtype(logits))
    log_total = torch.logsumexp(wide, dim=-1, keepdim=True)
    losses = (log_total - wide.gather(-1, targets)).squeeze(-1)
    if needs_slope:
        slope = torch.exp(wide - log_total)
        slope.scatter_add_(-1, targets, slope.new_full(targets.shape, -1.0))
        logits.copy_(slope.mul_(counts.unsqueeze(-1)))
    return torch.where(counts, losses, 0)
