"""The parallel recurrence by the gated recurrence's Triton kernels."""

from torch import Tensor

from mm_rec.ops.gated_recurrence import triton as gated
from mm_rec.ops.parallel_recurrence import reference
from mm_rec.ops.parallel_recurrence.reference import PackedInputs


def forward(
    inputs: PackedInputs, h0: Tensor | None, is_padding: Tensor | None, input_scale: str
) -> tuple[Tensor, Tensor]:
    """Return h [B, T, D] in the dtype of the inputs, and the last state [B, D]."""
    return reference.forward(inputs, h0, is_padding, input_scale, gated)


def backward(
    h_gradient: Tensor,
    h_last_gradient: Tensor | None,
    inputs: PackedInputs,
    h0: Tensor | None,
    is_padding: Tensor | None,
    h: Tensor,
    input_scale: str,
) -> tuple[Tensor, ...]:
    """Return the gradients of the four inputs and of h0."""
    return reference.backward(
        h_gradient, h_last_gradient, inputs, h0, is_padding, h, input_scale, gated
    )
