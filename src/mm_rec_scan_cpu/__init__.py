"""The CPU kernels of MM-Rec, for torch tensors and NumPy arrays.

Owns the way into the compiled module `_native`; the ops with gradients are in `mm_rec.ops`.
torch is imported first, so that the compiled module runs on torch's OpenMP threads.
"""

import numpy
import torch

from mm_rec.errors import ConfigError, ShapeError
from mm_rec_scan_cpu import _native
from mm_rec_scan_cpu._native import instruction_set, instruction_sets, set_instruction_set

__all__ = [
    "associative_scan_exponential_cpu",
    "instruction_set",
    "instruction_sets",
    "set_instruction_set",
]


def associative_scan_exponential_cpu(
    gamma: torch.Tensor | numpy.ndarray,
) -> torch.Tensor | numpy.ndarray:
    """Return the cumulative product of `gamma` along time, as the kind of array given.

    gamma: [B, H, T, d], float32 (or bfloat16 as a tensor), in (0, 1]; any strides. Numbers below
    1.2e-38 become zero. No gradient comes back from here: for one there is
    `mm_rec.ops.cumulative_product`.

    Raises:
        ShapeError: gamma has not four dimensions, or one of them is 0.
        ConfigError: another type, dtype or device, a value outside (0, 1], or a gradient wanted.
    """
    if isinstance(gamma, numpy.ndarray):
        return _product_of_array(gamma)
    if isinstance(gamma, torch.Tensor):
        return _product_of_tensor(gamma)
    raise ConfigError(f"gamma is a {type(gamma).__name__}; expected a torch tensor or NumPy array.")


def _product_of_array(gamma: numpy.ndarray) -> numpy.ndarray:
    _check_array(gamma)
    _check_shape(gamma.shape)
    rows = numpy.ascontiguousarray(gamma.reshape(-1, *gamma.shape[2:]))
    product = numpy.empty_like(rows)
    _check_range(_native.cumulative_product(rows, product, torch.get_num_threads()))
    return product.reshape(gamma.shape)


def _product_of_tensor(gamma: torch.Tensor) -> torch.Tensor:
    _check_tensor(gamma)
    _check_shape(gamma.shape)
    rows = gamma.detach().flatten(0, 1).contiguous()
    product = torch.empty_like(rows)
    _check_range(_native.cumulative_product(rows, product, torch.get_num_threads()))
    return product.view(gamma.shape)


def _check_range(is_in_range: bool) -> None:
    if not is_in_range:
        raise ConfigError("gamma has values outside (0, 1] or NaN; clamp it to (0, 1] first.")


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or 0 in shape:
        raise ShapeError(f"gamma has shape {tuple(shape)}; expected [B, H, T, d], each at least 1.")


def _check_array(gamma: numpy.ndarray) -> None:
    if gamma.dtype != numpy.float32:
        raise ConfigError(f"gamma has dtype {gamma.dtype}; expected float32.")


def _check_tensor(gamma: torch.Tensor) -> None:
    if gamma.dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(f"gamma has dtype {gamma.dtype}; expected torch.float32 or bfloat16.")
    if gamma.device.type != "cpu" or gamma.layout != torch.strided:
        raise ConfigError(
            f"gamma is on {gamma.device} as {gamma.layout}; expected a dense CPU tensor."
        )
    if gamma.requires_grad and torch.is_grad_enabled():
        raise ConfigError(
            "gamma requires a gradient, which this function has none of; detach it, or use the "
            "function of mm_rec.ops.cumulative_product."
        )
