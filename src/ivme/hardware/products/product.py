"""What a product is, and the operands that every library gets.

Each product multiplies [n, n] by [n, n]. The right operand is the weight: constant, so libraries
that pack weights once may do so, as they do for a model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class PreparedProduct:
    """A product that is ready to be timed."""

    run: Callable[[], object]  # one product; returns when it is done
    result: Callable[[], "np.ndarray"]  # of the last run: [n, n]
    ran_in: str  # the precision that the library says it computes in
    calls_per_run: int = 1  # an accelerator gets several, so that its launch cost vanishes
    keeps: tuple[object, ...] = ()  # what must stay alive while `run` may be called


@dataclass(frozen=True, kw_only=True)
class ProductPath:
    """One way to a matrix product: a library, a precision, a device."""

    name: str  # unique, "torch-fp32"
    library: str  # "torch", "onnxruntime", "openvino"
    precision: str  # "fp32", "tf32", "bf16", "fp16", "int8": what is asked for
    how: str  # the call, for a reader
    prepare: Callable[[int, int], PreparedProduct]  # (n, threads); RefusedError says why not
    device: str = "cpu"  # "cpu", "cuda:0", "mps"


def float_operands(size: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return two [size, size] float32 matrices in [-1, 1)."""
    import numpy as np

    generator = np.random.default_rng(size)
    left, right = generator.random((2, size, size), dtype=np.float32) * 2 - 1
    return left, right


def integer_operands(size: int, left_type: str = "int8") -> "tuple[np.ndarray, np.ndarray]":
    """Return activations of `left_type` ("int8", "uint8") and int8 weights, [size, size].

    Weights stay within 6 bits plus sign: processors without VNNI add two products of 8-bit
    numbers in 16 bits, which saturates beyond that.
    """
    import numpy as np

    generator = np.random.default_rng(size)
    low, high = (0, 256) if left_type == "uint8" else (-128, 128)
    left = generator.integers(low, high, (size, size)).astype(left_type)
    right = generator.integers(-64, 64, (size, size), dtype=np.int8)
    return left, right


def as_array(value: Any) -> "np.ndarray":
    """Return a torch tensor of any precision and device as an array that NumPy knows."""
    tensor = value.cpu()
    return tensor.float().numpy() if tensor.dtype.is_floating_point else tensor.numpy()
