"""Linear layers whose weights are packed once, in the layout that the processor's kernels read.

torch packs the weights of a plain linear layer anew in every call, or does without; and its
float32 products go to MKL, which leaves half of an AMD processor's AVX-512 idle. oneDNN and FBGEMM
come with torch and do neither.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ivme.hardware.processor import read_processor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INT8_LIBRARY = "fbgemm"  # of those in torch; oneDNN's took 1.4 times as long to decode


class PackedLinear(nn.Module):
    """x weight^T + bias in float32 or bfloat16, through oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = _shape_of(weight)
        self._bias = bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., M] from x [..., K]."""
        # A slice with gaps between its rows would send oneDNN to its plain loops.
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.contiguous(), self._packed, self._bias, "none", [], ""
        )
        return product


class PackedInt8Linear(nn.Module):
    """x weight^T + bias with int8 weights, one scale a row, through FBGEMM.

    Activations are quantized as they come, with one scale for all of x.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = _shape_of(weight)
        self._packed = _prepack(_quantized(weight), bias)
        # Without VNNI the kernel adds two products in 16 bits: activations give up a bit for it.
        self._reduces_range = not read_processor(None).has("avx512_vnni")

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., M] in float32 from x [..., K] in float32."""
        product: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._reduces_range)
        return product


def packed_layers(network: "PreTrainedModel", precision: str) -> dict[int, nn.Module]:
    """Return id -> packed layer for every linear layer of the network, Conv1D counted.

    precision: "float32", "bfloat16" (the network's weights are of that type) or "int8".
    """
    make: Callable[[Any, Any], nn.Module]
    make = PackedInt8Linear if precision == "int8" else PackedLinear
    return {
        id(layer): make(*_weight_and_bias(layer))
        for layer in network.modules()
        if _is_linear(layer)
    }


def _is_linear(layer: nn.Module) -> bool:
    """Return whether the layer is a plain linear one; subclasses may do more."""
    from transformers.pytorch_utils import Conv1D

    return type(layer) in (nn.Linear, Conv1D)


def _weight_and_bias(layer: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight [M, K] and bias [M] of a linear layer; Conv1D keeps its weight as [K, M]."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    return (weight if isinstance(layer, nn.Linear) else weight.t().contiguous()), bias


def _shape_of(weight: Tensor) -> Tensor:
    """Return a tensor without storage: models ask linear layers for their weight's type."""
    return torch.empty_like(weight, device="meta")


def _quantized(weight: Tensor) -> Tensor:
    """Return the weight in int8, symmetric around 0, one scale a row."""
    scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # A later torch will drop quantized tensors; nothing that replaces them decodes as fast.
        warnings.filterwarnings("ignore", message=".*deprecated")
        return torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)


def _prepack(quantized: Tensor, bias: Tensor | None) -> Any:
    """Return the weights in FBGEMM's layout."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = INT8_LIBRARY
    try:
        return torch.ops.quantized.linear_prepack(quantized, bias)
    finally:
        torch.backends.quantized.engine = before
