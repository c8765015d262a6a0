"""The cross-entropy of rows of logits and its derivative in their place.

No op of its own: `mm_rec.core.cross_entropy` runs it inside one, between two products.
"""

from torch import Tensor

from mm_rec.ops.dispatch import choose_implementation, load

IGNORED_LABEL = -100


def cross_entropy_(
    logits: Tensor, labels: Tensor, needs_slope: bool, *, implementation: str | None = None
) -> Tensor:
    """Return logsumexp(logits) - logits[label] of each row [N], 0 where the label is ignored.

    logits: [N, V], float32, bfloat16 or float64, contiguous; labels: [N] of int64, below V.
    The derivative by the logits takes their place where `needs_slope`; else they lose their values
    or keep them. Losses are float32, or float64 beside float64.

    Raises:
        ImplementationError: the implementation named cannot take these tensors.
    """
    implementation = choose_implementation(implementation, logits, kernels=("cpu",))
    return load("cross_entropy", implementation).forward_(logits, labels, needs_slope)
