"""How well a model predicts text: mean loss, and the loss by position in the text."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mm_rec.core.cross_entropy import IGNORED_LABEL
from mm_rec.errors import DataError
from mm_rec.training.distributed import Place, summed
from mm_rec.training.gradients import Batch
from mm_rec.training.reports import Evaluation


@torch.no_grad()
def evaluate_model(
    model: nn.Module,
    batches: Iterable[Batch],
    bytes_per_token: float,
    place: Place,
    *,
    chunk_size: int | None = None,
    most_batches: int | None = None,
    precision: AbstractContextManager[Any] | None = None,
) -> Evaluation:
    """Return the mean loss over all labels of the batches; processes share the work.

    chunk_size: read so many tokens at a time, in constant memory. precision: entered for each
    forward pass. Dropout is off, and the model's mode is as before afterwards. Raises DataError
    where there is nothing to predict.
    """
    was_training = model.training
    model.eval()
    total = tokens = 0.0
    try:
        for (input_ids, labels), is_own in _shared_out(islice(batches, most_batches), place):
            count = int((labels != IGNORED_LABEL).sum()) * is_own
            with precision or nullcontext():
                output = model(
                    input_ids.to(place.device),
                    shift_labels=labels.to(place.device),
                    chunk_size=chunk_size,
                    use_cache=False,
                )
            if count:
                total += float(output.cross_entropy) * count
            tokens += count
    finally:
        model.train(was_training)
    total, tokens = summed([total, tokens], place)
    if not tokens:
        raise DataError("there is no text to evaluate on; give more, or a smaller --seq_len.")
    return Evaluation(loss=total / tokens, tokens=int(tokens), bytes_per_token=bytes_per_token)


def _shared_out(batches: Iterable[Batch], place: Place) -> Iterator[tuple[Batch, bool]]:
    """Yield this process's batches, and whether they are its own.

    All processes get equally many, as a model spread over them needs; the last may be borrowed.
    """
    rest = iter(batches)
    while group := list(islice(rest, place.world_size)):
        is_own = place.rank < len(group)
        yield group[place.rank if is_own else 0], is_own


@torch.no_grad()
def losses_by_position(
    model: nn.Module, batches: Iterable[Batch], chunk_size: int
) -> tuple[Tensor, Tensor]:
    """Return the summed loss and the number of labels at every position, both [T] of fp64.

    The batches must be of one length T; they are read `chunk_size` tokens at a time.
    """
    model.eval()
    sums: Tensor | None = None
    counts = torch.zeros(())
    for input_ids, labels in batches:
        losses = _token_losses(model, input_ids, labels, chunk_size)
        sums = losses.sum(0) if sums is None else sums + losses.sum(0)
        counts = counts + (labels != IGNORED_LABEL).sum(0)
    if sums is None:
        raise DataError("there is no text to evaluate on; give more, or a smaller --seq_len.")
    return sums, counts.double()


def _token_losses(model: nn.Module, input_ids: Tensor, labels: Tensor, chunk_size: int) -> Tensor:
    """Return the loss of every token [B, T] in fp64, 0 where there is no label."""
    state, losses = None, []
    device = next(model.parameters()).device
    for ids, targets in zip(
        input_ids.split(chunk_size, 1), labels.split(chunk_size, 1), strict=True
    ):
        output = model(ids.to(device), state=state, use_cache=True)
        state = output.state
        loss = cross_entropy(
            output.logits.flatten(0, 1).float(),
            targets.flatten().to(device),
            ignore_index=IGNORED_LABEL,
            reduction="none",
        )
        losses.append(loss.view(targets.shape).double().cpu())
    return torch.cat(losses, dim=1)
