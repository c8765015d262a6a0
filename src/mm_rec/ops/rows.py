"""What the ops on rows share: [..., C] seen as [rows, C], and checks of what belongs to it."""

import torch
from torch import Tensor

from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.checks import check_tensor


def as_rows(value: Tensor) -> Tensor:
    """Return the tensor [..., C] as [rows, C], a copy only where channels or rows have gaps."""
    value = value if value.stride(-1) == 1 else value.contiguous()
    return value.reshape(-1, value.shape[-1])


def check_rows(name: str, value: Tensor) -> None:
    """Raise ShapeError or ConfigError unless `value` is a filled floating-point [..., C]."""
    check_tensor(name, value)
    if value.dim() < 1 or 0 in value.shape:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}; expected [..., C], each at least 1."
        )


def check_per_channel(name: str, value: Tensor, rows: Tensor) -> None:
    """Raise ShapeError or ConfigError unless `value` is [C] beside rows [..., C]."""
    check_tensor(name, value)
    if value.dim() != 1 or value.shape[0] != rows.shape[-1]:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}; expected ({rows.shape[-1]},), one for each "
            "channel."
        )
    if value.device != rows.device:
        raise ConfigError(f"{name} is on {value.device}; expected {rows.device}.")


def check_like(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ShapeError or ConfigError unless both tensors agree in shape and device."""
    check_rows(name, value)
    if value.shape != other.shape:
        raise ShapeError(
            f"{name} has shape {tuple(value.shape)}; expected {tuple(other.shape)}, the shape of "
            f"{other_name}."
        )
    if value.device != other.device:
        raise ConfigError(f"{name} is on {value.device}; expected {other.device}.")


def wide_dtype(value: Tensor) -> torch.dtype:
    """Return the dtype that sums have: float32, or float64 beside float64."""
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def product_dtype(value: Tensor) -> torch.dtype:
    """Return the dtype in which a product would read the tensor: autocast's where that is on."""
    device = value.device.type
    if value.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return value.dtype
    return torch.get_autocast_dtype(device)
