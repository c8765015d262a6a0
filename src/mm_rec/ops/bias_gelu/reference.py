"""gelu(x + bias) and its gradients by torch's own functions."""

import torch
from torch import Tensor
from torch.nn.functional import gelu


def forward(x: Tensor, bias: Tensor) -> Tensor:
    """Return gelu(x + bias) [..., C] in the dtype of x."""
    return gelu(x.to(bias.dtype) + bias).to(x.dtype)


def backward(y_gradient: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and bias."""
    shifted = x.to(bias.dtype) + bias
    gradient = torch.ops.aten.gelu_backward(y_gradient.to(bias.dtype), shifted)
    return gradient.to(x.dtype), gradient.flatten(0, -2).sum(0)
