"""What the CPU implementations share: how tensors are made ready for the compiled kernels."""

import torch


def rows(sequence: torch.Tensor) -> torch.Tensor:
    """Return the sequence itself where its channels are contiguous, a copy elsewhere.

    Slices of a wider product pass as they are: the kernels take any stride of batch and time.
    """
    return sequence if sequence.stride(-1) == 1 else sequence.contiguous()


def state(value: torch.Tensor | None) -> torch.Tensor | None:
    """Return the state with contiguous rows; None stays None."""
    return None if value is None else value.contiguous()


def empty_state(sequence: torch.Tensor) -> torch.Tensor:
    """Return an uninitialized state [B, D] beside a sequence [B, T, D]."""
    return torch.empty(sequence.shape[0], sequence.shape[2], dtype=torch.float32)


def empty_sequence(sequence: torch.Tensor) -> torch.Tensor:
    """Return an uninitialized contiguous sequence of the same shape and dtype."""
    return torch.empty(sequence.shape, dtype=sequence.dtype)
