"""The linear map through oneDNN, with plain weights: no packing, so training can use it."""

import torch
from torch import Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias, [N, M]; x: [N, K], weight: [M, K], of any strides."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
