"""The linear map through oneDNN, with plain weights: no packing, so training can use it."""

import torch
from torch import Tensor

from mm_rec.ops.rows import as_rows
from mm_rec_scan_cpu import _native

_product = torch.ops.mkldnn._linear_pointwise.default


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x weight^T + bias, [..., M]; x: [..., K], weight: [M, K], of any strides."""
    rows = _dense(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]))
    out = _product(rows, _dense(weight), bias, "none", [], "")
    return out if x.dim() == 2 else out.view(*x.shape[:-1], len(weight))


def sum_rows(rows: Tensor) -> Tensor:
    """Return the sum over the rows [N, M], in fp32."""
    total = torch.empty(rows.shape[1], dtype=torch.float32)
    _native.column_sum(as_rows(rows), total, torch.get_num_threads())
    return total


def _dense(matrix: Tensor) -> Tensor:
    """Return the matrix itself if it or its transpose lies without gaps, else a copy.

    With gaps between rows oneDNN falls back to plain loops, a thousand times slower.
    """
    is_dense = matrix.is_contiguous() or matrix.t().is_contiguous()
    return matrix if is_dense else matrix.contiguous()
