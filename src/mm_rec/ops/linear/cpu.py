"""The linear map through oneDNN, with plain weights: no packing, so training can use it."""

import torch
from torch import Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias, [N, M]; x: [N, K], weight: [M, K], of any strides."""
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """Return the matrix itself if it or its transpose lies without gaps, else a copy.

    With gaps between rows oneDNN falls back to plain loops, a thousand times slower.
    """
    is_dense = matrix.is_contiguous() or matrix.t().is_contiguous()
    return matrix if is_dense else matrix.contiguous()
