"""The cross-entropy on the compiled kernel."""

import torch
from torch import Tensor

from mm_rec_scan_cpu import _native


def forward_(logits: Tensor, labels: Tensor, needs_slope: bool) -> Tensor:
    """Return the loss of each row; the slope takes the place of the logits if needed."""
    losses = torch.empty(len(logits), dtype=torch.float32)
    _native.cross_entropy(logits, labels.contiguous(), losses, needs_slope, torch.get_num_threads())
    return losses
