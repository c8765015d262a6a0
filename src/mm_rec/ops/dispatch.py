"""Which implementation of an op runs. Knows the names and what each can take, not the ops."""

from functools import cache
from importlib import import_module
from types import ModuleType

import torch

from mm_rec.errors import ImplementationError


def choose_implementation(
    requested: str | None,
    sample: torch.Tensor,
    *,
    kernels: tuple[str, ...] = ("cpu", "triton"),
) -> str:
    """Return the implementation to run on tensors like `sample`; never one not asked for.

    kernels: those that the op has. None chooses by device: "cpu" on CPUs, "triton" on CUDA
    devices. float64 and devices for which the op has no kernel get "reference".

    Raises:
        ImplementationError: the name is unknown, or that implementation cannot take `sample`.
    """
    device, is_double = sample.device.type, sample.dtype == torch.float64
    if requested is None:
        kernel = {"cpu": "cpu", "cuda": "triton"}.get(device)
        return kernel if kernel in kernels and not is_double else "reference"
    allowed = ("reference", *kernels)
    if requested not in allowed:
        raise ImplementationError(
            f"implementation={requested!r}; expected one of {', '.join(allowed)}, or None."
        )
    if requested != "reference" and is_double:
        raise ImplementationError(
            f"implementation={requested!r} takes float32 and bfloat16, not float64; "
            "use implementation='reference'."
        )
    if requested == "cpu" and device != "cpu":
        raise ImplementationError(
            f"implementation='cpu' takes CPU tensors, not {device}; move them, or pass None."
        )
    return requested


@cache
def load(op: str, implementation: str) -> ModuleType:
    """Return the module that implements `op`.

    Raises:
        ImplementationError: what it needs is not installed.
    """
    try:
        return import_module(f"mm_rec.ops.{op}.{implementation}")
    except ModuleNotFoundError as error:
        raise ImplementationError(
            f"implementation={implementation!r} needs {error.name}, which is not installed; "
            "install it (`pip install .` builds the CPU kernels), or use 'reference'."
        ) from error
