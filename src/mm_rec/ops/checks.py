"""Checks of what callers hand to the ops, before anything is computed."""

import torch

from mm_rec.errors import ConfigError, ShapeError

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
# What i * z is multiplied by where the state keeps a: 1 - a, or sqrt(1 - a^2).
INPUT_SCALES = ("convex", "variance")


def state_dtype(sequence: torch.Tensor) -> torch.dtype:
    """Return the dtype of the states beside a sequence: float32, or float64 beside float64."""
    return torch.float64 if sequence.dtype == torch.float64 else torch.float32


def check_sequences(**sequences: torch.Tensor) -> list[torch.Tensor]:
    """Return the sequences in their common dtype, as torch's own operators promote them.

    Raises:
        ShapeError: one is not [B, T, D], has an empty dimension, or differs from the first.
        ConfigError: one is no floating-point tensor, or they are on different devices.
    """
    first_name, first = next(iter(sequences.items()))
    for name, value in sequences.items():
        check_tensor(name, value)
        if value.dim() != 3 or 0 in value.shape:
            raise ShapeError(
                f"{name} has shape {tuple(value.shape)}; expected [B, T, D], each at least 1."
            )
        if value.shape != first.shape:
            raise ShapeError(
                f"{name} has shape {tuple(value.shape)}; expected {tuple(first.shape)}, "
                f"the shape of {first_name}."
            )
        _check_device(name, value, first_name, first)
    dtype = first.dtype
    for value in sequences.values():
        dtype = torch.promote_types(dtype, value.dtype)
    return [value.to(dtype) for value in sequences.values()]


def check_state(
    name: str, state: torch.Tensor | None, sequence: torch.Tensor
) -> torch.Tensor | None:
    """Return the state [B, D] beside `sequence` in the dtype states have; None stays None.

    Raises:
        ShapeError: it is not [B, D] of the sequence.
        ConfigError: it is no floating-point tensor, or on another device.
    """
    if state is None:
        return None
    check_tensor(name, state)
    batch, _, width = sequence.shape
    if state.dim() != 2 or state.shape[0] != batch or state.shape[1] != width:
        raise ShapeError(
            f"{name} has shape {tuple(state.shape)}; expected {(batch, width)}, "
            "[B, D] of the sequences."
        )
    _check_device(name, state, "the sequences", sequence)
    return state.to(state_dtype(sequence))


def check_mask(name: str, mask: torch.Tensor | None, sequence: torch.Tensor) -> torch.Tensor | None:
    """Return the mask [B, T] beside `sequence`; None stays None.

    Raises:
        ShapeError: it is not [B, T] of the sequence.
        ConfigError: it is no boolean tensor, or on another device.
    """
    if mask is None:
        return None
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise ConfigError(
            f"{name} is {given}; expected a torch.bool tensor, True where padding is."
        )
    batch, steps, _ = sequence.shape
    if mask.dim() != 2 or mask.shape[0] != batch or mask.shape[1] != steps:
        raise ShapeError(
            f"{name} has shape {tuple(mask.shape)}; expected {(batch, steps)}, [B, T] of z."
        )
    _check_device(name, mask, "the sequences", sequence)
    return mask


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless `value` is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{name}={value!r}; expected one of {choices}.")


def check_tensor(name: str, value: torch.Tensor) -> None:
    """Raise ConfigError unless `value` is a dense tensor of a dtype that the ops take."""
    if not isinstance(value, torch.Tensor):
        raise ConfigError(f"{name} is a {type(value).__name__}; expected a torch tensor.")
    if value.dtype not in DTYPES or value.layout != torch.strided:
        raise ConfigError(
            f"{name} has dtype {value.dtype} and layout {value.layout}; expected a dense tensor "
            "of float32, bfloat16 or float64. Convert it with .to(torch.float32)."
        )


def _check_device(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    if value.device != other.device:
        raise ConfigError(
            f"{name} is on {value.device}; expected {other.device}, where {other_name} is."
        )
