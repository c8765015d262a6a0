"""Checks of what a caller passes to the model; each error names the argument and what fits."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from mm_rec.core.cross_entropy import IGNORED_LABEL
from mm_rec.errors import ConfigError, ShapeError

WHOLE_NUMBERS = (torch.int64, torch.int32)


def check_input_ids(input_ids: Tensor, vocab_size: int) -> None:
    """Raise ShapeError or ConfigError unless input_ids is [B, T] of ids under vocab_size."""
    if not isinstance(input_ids, Tensor) or input_ids.dtype not in WHOLE_NUMBERS:
        given = getattr(input_ids, "dtype", type(input_ids).__name__)
        raise ShapeError(f"input_ids is {given}; expected a tensor of int64 or int32.")
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise ShapeError(
            f"input_ids has shape {tuple(input_ids.shape)}; expected [batch, tokens], "
            "each at least 1."
        )
    _check_range("input_ids", input_ids, 0, vocab_size)


def check_labels(
    labels: Tensor | None, shift_labels: Tensor | None, input_ids: Tensor, vocab_size: int
) -> Tensor | None:
    """Return the label that each position is held to, [B, T], or None where none are given."""
    if labels is not None and shift_labels is not None:
        raise ConfigError("labels and shift_labels are both given; expected one of them.")
    name = "labels" if shift_labels is None else "shift_labels"
    given = labels if shift_labels is None else shift_labels
    if given is None:
        return None
    if given.shape != input_ids.shape or given.dtype != torch.int64:
        raise ShapeError(
            f"{name} has shape {tuple(given.shape)} and {given.dtype}; "
            f"expected {tuple(input_ids.shape)} like input_ids, of torch.int64."
        )
    _check_range(name, given.where(given != IGNORED_LABEL, 0), 0, vocab_size)
    return pad(given[:, 1:], (0, 1), value=IGNORED_LABEL) if shift_labels is None else given


def check_chunk_size(
    chunk_size: int | None,
    steps: int,
    output_hidden_states: bool | None,
    output_attentions: bool | None,
) -> int:
    """Return how many of the T tokens to read at a time."""
    if output_attentions:
        raise ConfigError("output_attentions=True; expected False: the model has no attentions.")
    if chunk_size is None:
        return steps
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise ConfigError(f"chunk_size={chunk_size!r}; expected a whole number of at least 1.")
    if output_hidden_states:
        raise ConfigError("output_hidden_states=True with chunk_size; expected one of them.")
    return chunk_size


def check_logits_to_keep(logits_to_keep: int | None, steps: int, has_labels: bool) -> int:
    """Return the logits of how many last positions are asked for."""
    if logits_to_keep is None:
        return 0 if has_labels else steps
    if (
        isinstance(logits_to_keep, bool)
        or not isinstance(logits_to_keep, int)
        or logits_to_keep < 0
    ):
        raise ConfigError(
            f"logits_to_keep={logits_to_keep!r}; expected a number of last positions, or 0 for all."
        )
    return min(logits_to_keep, steps) or steps


def _check_range(name: str, values: Tensor, low: int, high: int) -> None:
    """Raise ConfigError unless low <= values < high; nothing is read while compiling."""
    if torch.compiler.is_compiling():
        return
    least, most = (int(bound) for bound in torch.aminmax(values))
    if least < low or most >= high:
        raise ConfigError(f"{name} holds {least} to {most}; expected {low} to {high - 1}.")
