"""The RMS norm of MM-Rec: torch's own, computed by `mm_rec.ops.rms_norm`."""

from torch import Tensor, nn

from mm_rec.ops.rms_norm import rms_norm


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight, in autocast's dtype where that is on."""

    eps: float

    def forward(self, x: Tensor) -> Tensor:
        """Return the norm over the last dimension, [..., D]."""
        return rms_norm(x, self.weight, self.eps)
