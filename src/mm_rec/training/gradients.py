"""Gradients of one optimizer step: over passes, over chunks of a text, over processes."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mm_rec.core.cross_entropy import IGNORED_LABEL
from mm_rec.core.state import MMRecState
from mm_rec.errors import TrainingError
from mm_rec.training.distributed import gradients_stay

Batch = tuple[Tensor, Tensor]  # input_ids and shift_labels, [B, T] of int64
USUAL_NORM_MEMORY = 0.98  # of the running mean of gradient norms, a step
STEPS_BEFORE_GUARD = 20  # the first norms are unlike those that follow
MOST_SKIPPED_IN_A_ROW = 20


class Losses(NamedTuple):
    """Mean losses of a step on this process, as tensors: reading them waits for the device."""

    total: Tensor
    auxiliary: Tensor | None


def accumulate_gradients(
    shared: nn.Module,
    batches: Sequence[Batch],
    *,
    chunk_size: int | None,
    precision: AbstractContextManager[Any],
    scaler: Any = None,
) -> Losses:
    """Add the gradients of the mean loss over all labels of the batches to the parameters.

    chunk_size: backpropagate after so many tokens and carry the state on without its history, so
    that memory does not grow with the length of the texts. precision: entered for each forward
    pass. scaler: called on each loss; None leaves it as it is.
    """
    device = batches[0][0].device
    parts = [part for batch in batches for part in _chunks(batch, chunk_size)]
    counts = [int((labels != IGNORED_LABEL).sum()) for _, labels, _ in parts]
    if not sum(counts):
        raise TrainingError("a batch holds no token to predict; the texts are too short.")
    total = torch.zeros((), device=device)
    auxiliary: Tensor | None = None
    state: MMRecState | None = None
    for index, ((input_ids, labels, is_first), count) in enumerate(zip(parts, counts, strict=True)):
        with gradients_stay(shared, is_last=index == len(parts) - 1):
            with precision:
                output = shared(
                    input_ids,
                    state=None if is_first else state,
                    shift_labels=labels,
                    use_cache=chunk_size is not None,
                )
            weight = count / sum(counts)
            loss = output.loss * weight
            (loss if scaler is None else scaler(loss)).backward()
        state = None if output.state is None else output.state.detach()
        total = total + loss.detach()
        if output.L_Aux is not None:
            part = output.L_Aux.detach() * weight
            auxiliary = part if auxiliary is None else auxiliary + part
    return Losses(total, auxiliary)


def _chunks(batch: Batch, chunk_size: int | None) -> list[tuple[Tensor, Tensor, bool]]:
    """Return the parts of a batch that are read one after the other; the first is marked."""
    input_ids, labels = batch
    size = chunk_size or input_ids.shape[1]
    pairs = zip(input_ids.split(size, dim=1), labels.split(size, dim=1), strict=True)
    return [(ids, targets, not index) for index, (ids, targets) in enumerate(pairs)]


class GradientGuard:
    """Decides from the norm of the gradients whether a step may change the weights."""

    def __init__(self, most_times_usual: float) -> None:
        self._most = most_times_usual
        self.usual_norm = 0.0
        self.accepted = 0
        self.skipped = 0
        self.skipped_in_a_row = 0

    def reason_to_skip(self, loss: float, norm: float) -> str | None:
        """Return why the step must be skipped, or None. Raises TrainingError after too many."""
        reason = self._reason(loss, norm)
        if reason is None:
            weight = max(1 - USUAL_NORM_MEMORY, 1 / (self.accepted + 1))
            self.usual_norm += weight * (norm - self.usual_norm)
            self.accepted += 1
            self.skipped_in_a_row = 0
            return None
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"{reason} in {self.skipped_in_a_row} steps in a row; lower --learning_rate, "
                "train without --use_amp, or look at the data."
            )
        return reason

    def _reason(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the norm of the gradients is {norm}"
        is_known = self.accepted >= STEPS_BEFORE_GUARD
        if self._most and is_known and norm > self._most * self.usual_norm:
            return f"the norm of the gradients is {norm:.3g}, and usually {self.usual_norm:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "usual_norm": self.usual_norm,
            "accepted": self.accepted,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        vars(self).update(state)
