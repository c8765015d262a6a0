"""The linear layers of MM-Rec: torch's own, with their products run by `mm_rec.ops.linear`."""

from torch import Tensor, nn
from torch.nn.functional import gelu

from mm_rec.ops.bias_gelu import bias_gelu
from mm_rec.ops.linear import linear


class Linear(nn.Linear):
    """y = x W^T + b, in whichever library is faster here."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the map of the input, [..., out_features]."""
        return linear(input, self.weight, self.bias)


class FeedForward(nn.Sequential):
    """A linear layer, GELU, and a linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the map of the input, [..., out_features of the last layer]."""
        up, _, down = self
        return down(linear_gelu(up, input))


def linear_gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """Return gelu(layer(x)); the bias of a plain layer is added in the same pass as the GELU."""
    if isinstance(layer, Linear) and layer.bias is not None and not _has_hooks(layer):
        return bias_gelu(linear(x, layer.weight), layer.bias)
    return gelu(layer(x))


def _has_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
