"""Training of a transformer member: texts in, a folder with the trained classifier out.

AdamW, a rate that rises and falls to zero by the end of the time or of the passes, whichever is
first, and the weights of the pass with the least loss on texts kept apart.
"""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.ensemble.labeled_texts import LabeledTexts, hold_out
from ivme.ensemble.training_place import Autocast, torch_as_it_was, training_device
from ivme.ensemble.transformer_batches import BatchMaker
from ivme.ensemble.transformer_settings import TUNED_WIDTH, TransformerSettings
from ivme.errors import IvmeError
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STOP_SHARE, MOST_STOP_TEXTS = 0.1, 500  # of the texts, kept apart to stop by
WARMUP_SHARE = 0.06
TIME_COUNTS_FROM = 0.1  # of the budget; a training with time to spare is the same every time
WEIGHT_DECAY = 0.01
MOST_GRADIENT_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass: its mean loss, and loss and accuracy on the texts kept apart."""

    number: int
    train_loss: float
    stop_loss: float
    stop_accuracy: float
    spent_s: float


def train_transformer(
    name: str,
    data: LabeledTexts,
    labels: tuple[str, ...],
    folder: Path,
    *,
    settings: TransformerSettings,
    progress: Callable[[str], None] = lambda line: None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Train a classifier of the labels, save it in the folder, and return how that went.

    name: of the member, as progress lines have it; from scratch "BERT" or "RoBERTa". The folder
    is as save_pretrained writes it: safetensors, config and tokenizer.

    Raises:
        ModelNotFoundError: there is no such base.
        UsageError: a base that cannot be fine-tuned, or too few texts to keep some apart.
        IvmeError: the loss is no number any more.
    """
    import torch

    from ivme.ensemble.transformer_models import make_classifier

    clock = clock or SystemClock()
    seed = _seed_of(name, settings.seed)
    fitted, kept = hold_out(data, STOP_SHARE, seed=seed, most=MOST_STOP_TEXTS)
    device, autocast = training_device(settings.device)
    with torch_as_it_was(settings.threads):
        torch.manual_seed(seed)
        progress(f"Training {name}: {_what(settings)} on {device}...")
        model, tokenizer = make_classifier(name, settings, fitted.texts, labels)
        run = _Run(
            model=model.to(device),
            settings=settings,
            batches=_batches(fitted, tokenizer, model, labels, settings, seed, len(fitted)),
            stop_batches=_batches(kept, tokenizer, model, labels, settings, seed, len(fitted)),
            autocast=autocast,
            clock=clock,
            seconds=settings.seconds_for(len(fitted)),
        )
        epochs = []
        for epoch in run.epochs():
            epochs.append(epoch)
            progress(_line(name, epoch, settings.most_epochs))
        best = run.restore_best()
        model.to("cpu").eval().save_pretrained(folder)
        tokenizer.model_max_length = run.batches.max_length  # what it was trained on, no more
        tokenizer.save_pretrained(folder)
    return {
        "settings": asdict(settings),
        "device": device,
        "autocast": None if autocast is None else "bfloat16",
        "texts": len(fitted),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "best_epoch": best,
        "stopped_by": run.stopped_by,
        "epochs": [asdict(one) for one in epochs],
    }


class _Run:
    """The passes over the texts, and the best weights so far."""

    def __init__(
        self,
        *,
        model: "PreTrainedModel",
        settings: TransformerSettings,
        batches: BatchMaker,
        stop_batches: BatchMaker,
        autocast: Autocast | None,
        clock: Clock,
        seconds: float,
    ) -> None:
        self.model, self.settings, self.batches = model, settings, batches
        self.stop_batches, self.clock, self.seconds = stop_batches, clock, seconds
        self.autocast = autocast or nullcontext
        self.rate = settings.rate_for(getattr(model.config, "hidden_size", TUNED_WIDTH))
        self.optimizer = _optimizer(model, self.rate)
        self.steps = settings.most_epochs * batches.per_epoch
        self.step = 0
        self.stopped_by = "epochs"
        self.start_s = clock.now()
        self._best: tuple[float, int, dict[str, Any]] | None = None

    def epochs(self) -> Iterator[Epoch]:
        """Train, pass by pass, until the passes, the time or the patience are over."""
        for number in range(1, self.settings.most_epochs + 1):
            train_loss = self._train(number)
            loss, accuracy = self._evaluate()
            self._keep(loss, number)
            yield Epoch(
                number=number,
                train_loss=train_loss,
                stop_loss=loss,
                stop_accuracy=accuracy,
                spent_s=self.clock.now() - self.start_s,
            )
            if self._is_over(number):
                return

    def restore_best(self) -> int:
        """Put the weights of the best pass back, and return its number."""
        assert self._best is not None
        _, number, weights = self._best
        self.model.load_state_dict(weights)
        return number

    @property
    def progress(self) -> float:
        """The part of the training that is over, 0 to 1: of its steps or of its time."""
        of_time = (self.clock.now() - self.start_s) / self.seconds
        of_steps = self.step / self.steps
        if of_time < TIME_COUNTS_FROM:  # so that the first steps do not depend on the clock
            return of_steps
        return min(1.0, max(of_steps, of_time))

    def _is_over(self, number: int) -> bool:
        if self.progress >= 1 and self.step < self.steps:
            self.stopped_by = "budget"
            return True
        assert self._best is not None
        if number - self._best[1] >= self.settings.patience:
            self.stopped_by = "patience"
            return True
        return False

    def _train(self, number: int) -> float:
        """Train one pass, or what of it there is time for; return the mean loss."""
        self.model.train()
        total, count = 0.0, 0
        for batch in self.batches.training(number):
            progress = self.progress
            if progress >= 1 and count:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * _rate_share(progress)
            total += self._take_step(batch)
            count += 1
        return total / count

    def _take_step(self, batch: dict[str, Any]) -> float:
        import torch

        with self.autocast():
            loss = self.model(**self._moved(batch)).loss
        value = float(loss.detach())
        if value != value:
            raise IvmeError(
                f"the loss is no number any more after {self.step} steps; train with a lower "
                f"learning_rate than {self.rate}"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MOST_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return value

    def _evaluate(self) -> tuple[float, float]:
        """Return mean loss and accuracy on the texts kept apart."""
        import torch

        self.model.eval()
        loss = right = count = 0.0
        with torch.inference_mode(), self.autocast():
            for batch in self.stop_batches.whole():
                answer = self.model(**self._moved(batch))
                size = len(batch["labels"])
                loss += float(answer.loss) * size
                found = answer.logits.argmax(dim=-1).cpu()
                right += float((found == batch["labels"]).sum())
                count += size
        return loss / count, right / count

    def _keep(self, loss: float, number: int) -> None:
        if self._best is None or loss < self._best[0]:
            self._best = (loss, number, copy.deepcopy(self.model.state_dict()))

    def _moved(self, batch: dict[str, Any]) -> "dict[str, torch.Tensor]":
        return {name: value.to(self.model.device) for name, value in batch.items()}


def _batches(
    data: LabeledTexts,
    tokenizer: "PreTrainedTokenizerBase",
    model: "PreTrainedModel",
    labels: tuple[str, ...],
    settings: TransformerSettings,
    seed: int,
    texts: int,
) -> BatchMaker:
    from ivme.models.loading import OFFSET_POSITIONS

    positions = getattr(model.config, "max_position_embeddings", None) or settings.tokens
    if model.config.model_type in OFFSET_POSITIONS:
        positions -= model.config.pad_token_id + 1
    return BatchMaker(
        tokenizer=tokenizer,
        texts=data.texts,
        numbers=data.numbers(labels).tolist(),
        batch_size=settings.texts_per_batch(texts),
        max_length=min(settings.tokens, positions),
        recipe=settings.recipe,
        seed=seed,
    )


def _seed_of(name: str, seed: int) -> int:
    """Return a seed of the member's own: two of one base must not become the same network."""
    return random.Random(f"{name}-{seed}").getrandbits(31)


def _rate_share(progress: float) -> float:
    """Return the share of the highest rate: up in a line, then down in a line to zero."""
    if progress < WARMUP_SHARE:
        return 0.02 + 0.98 * progress / WARMUP_SHARE
    return (1 - progress) / (1 - WARMUP_SHARE)


def _optimizer(model: "PreTrainedModel", rate: float) -> "torch.optim.Optimizer":
    import torch

    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def _what(settings: TransformerSettings) -> str:
    if settings.base is not None:
        return f"{settings.base}, fine-tuned"
    return f"{settings.layers} layers of {settings.hidden_size}, from scratch,"


def _line(name: str, epoch: Epoch, most: int) -> str:
    return (
        f"Training {name}: epoch {epoch.number} of at most {most}, loss {epoch.train_loss:.3f}, on "
        f"texts kept apart {epoch.stop_loss:.3f}, accuracy {epoch.stop_accuracy:.1%}, "
        f"{epoch.spent_s:.0f} s"
    )
