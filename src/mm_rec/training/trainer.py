"""The trainer: steps, evaluations, samples and checkpoints, until the run is over or stopped."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mm_rec.core.quantization import prepare_qat
from mm_rec.data.batches import Batches
from mm_rec.errors import TrainingError
from mm_rec.model import MMRecForCausalLM
from mm_rec.training.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    list_checkpoints,
    save_checkpoint,
)
from mm_rec.training.configuration import TrainingConfig
from mm_rec.training.distributed import Place, quiet_views, share_model, summed
from mm_rec.training.evaluation import evaluate_model
from mm_rec.training.gradients import Batch, accumulate_gradients
from mm_rec.training.model_folder import load_weights, plain_copy, whole_weights, write_model_folder
from mm_rec.training.optimization import Optimization, Update, precision_of
from mm_rec.training.reports import Evaluation, Listener, StepReport, Summary
from mm_rec.training.stopping import StopRequest

# Tokens after which the speed is forgotten, as steps: long enough to be steady to the eye.
SPEED_MEMORY = 0.95


class Trainer:
    """Trains a model from batches to checkpoints.

    Args:
        config: Resolved settings.
        model: On the CPU, whole; it is moved and shared between processes as `place` says.
        batches: Makes the batch of any pass.
        validation: Returns all validation batches anew, and the bytes of text a token stands for.
        write_tokenizer: Writes the tokenizer into a folder.
        write_text: Returns a sample from a model and a seed; None: no samples.
        place: This process's part.
        listener: Told what happens; only in the first process.
        stop: Asked after every step.
        checkpoint: What to go on from.
        facts: Kept in every checkpoint, for those who resume it; plain values.
        now: Seconds since an arbitrary start.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: MMRecForCausalLM,
        *,
        batches: Batches,
        validation: Callable[[], tuple[Iterable[Batch], float]],
        write_tokenizer: Callable[[Path], None],
        place: Place,
        listener: Listener,
        stop: StopRequest,
        write_text: Callable[[MMRecForCausalLM, int], str] | None = None,
        checkpoint: Checkpoint | None = None,
        facts: Mapping[str, Any] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.place, self.model = config, place, model
        self._batches, self._validation = batches, validation
        self._write_tokenizer, self._write_text = write_tokenizer, write_text
        self._listener, self._stop, self._now = listener, stop, now
        self._facts = dict(facts or {})
        self._run_folder = Path(config.checkpoint_dir or "")
        self._resumed_from = None if checkpoint is None else checkpoint.folder
        self.step = self.tokens_seen = 0
        self._elapsed_before_s = 0.0
        if checkpoint is not None:
            load_weights(model, checkpoint.weights)
        if config.use_qat:
            prepare_qat(model)
        self._shared = self._share()
        self.optimization = Optimization(model, config, place)
        self._precision = precision_of(config, place)
        if checkpoint is not None:
            self._restore(checkpoint.state)
        self._started_at = now()
        self._tokens_per_s: float | None = None
        self._is_done = self._is_asked_to_stop = False

    def run(self) -> Summary:
        """Train until the end, or until asked to stop, save, and evaluate if it is the end.

        Raises TrainingError if the loss stays out of bounds, CheckpointError if a checkpoint
        cannot be written.
        """
        self._listener.started(self.step, self._resumed_from)
        self._started_at = self._now() - self._elapsed_before_s
        with quiet_views():
            return self._run()

    def _run(self) -> Summary:
        config = self.config
        saved_at = self.step if self._is_kept() else None
        self._agree()
        while not (self._is_done or self._is_asked_to_stop):
            self._one_step()
            self._agree()
            if _is_due(self.step, config.eval_interval) and not self._is_done:
                self._evaluate_on_the_way()
            if _is_due(self.step, config.sample_interval):
                self._sample()
            if _is_due(self.step, config.checkpoint_interval):
                saved_at = self._save()
        if saved_at != self.step:
            self._save()
        summary = Summary(
            step=self.step,
            tokens_seen=self.tokens_seen,
            elapsed_s=self._elapsed_s,
            skipped_steps=self.optimization.guard.skipped,
            checkpoint=checkpoint_folder(self._run_folder, self.step),
            evaluation=self.evaluate() if self._is_done else None,
            is_complete=self._is_done,
        )
        self._listener.ended(summary)
        return summary

    def _is_kept(self) -> bool:
        """Return whether the checkpoint that the run goes on from is one of its own folder's."""
        own = checkpoint_folder(self._run_folder, self.step)
        return self._resumed_from is not None and self._resumed_from.resolve() == own.resolve()

    def evaluate(self, model: nn.Module | None = None) -> Evaluation:
        """Return how well the model, or another one, predicts the whole validation text, in fp32.

        Every process must call it.
        """
        batches, bytes_per_token = self._validation()
        return evaluate_model(
            self.model if model is None else model.to(self.place.device),
            batches,
            bytes_per_token,
            self.place,
            chunk_size=self.config.chunk_size,
        )

    @property
    def _elapsed_s(self) -> float:
        return self._now() - self._started_at

    def _share(self) -> nn.Module:
        """Move the model to its device, and return what to call in training."""
        self.model.to(self.place.device)
        self.model.train()
        if self.config.use_gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        compiled: Callable[[Any], Any] = torch.compile if self.config.use_compile else _as_it_is
        if self.place.parallel == "fsdp":  # its hooks belong inside what is compiled
            return compiled(share_model(self.model, self.place))
        # The model itself stays as it is: evaluation and samples have shapes of their own.
        return share_model(compiled(self.model), self.place)

    def _one_step(self) -> None:
        """Make one step and tell about it."""
        began = self._now()
        seed_step(self.config.seed, self.step, self.place.rank)
        count = self.config.gradient_accumulation_steps
        batches = [self._batch(self.step * count + index) for index in range(count)]
        losses = accumulate_gradients(
            self._shared,
            batches,
            chunk_size=self.config.chunk_size,
            precision=self._precision,
            scaler=self.optimization.scaler,
        )
        loss, auxiliary, share_done = self._averaged(
            float(losses.total),
            0.0 if losses.auxiliary is None else float(losses.auxiliary),
            self._share_done(),
        )
        update = self._update(share_done, loss)
        self.step += 1
        tokens = self.place.world_size * sum(labels.numel() for _, labels in batches)
        self.tokens_seen += tokens
        self._listener.stepped(
            StepReport(
                step=self.step,
                loss=loss,
                auxiliary_loss=None if losses.auxiliary is None else auxiliary,
                learning_rate=update.learning_rate,
                gradient_norm=update.gradient_norm,
                tokens_seen=self.tokens_seen,
                tokens_per_s=self._speed(tokens, self._now() - began),
                elapsed_s=self._elapsed_s,
                share_done=self._share_done(),
                skipped_because=update.skipped_because,
            )
        )

    def _averaged(self, *values: float) -> list[float]:
        """Return the means over all processes."""
        return [value / self.place.world_size for value in summed(list(values), self.place)]

    def _update(self, share_done: float, loss: float) -> Update:
        try:
            update = self.optimization.step(self.step, share_done, loss)
        except TrainingError as error:
            kept = list_checkpoints(self._run_folder)
            last = f"The last checkpoint is {kept[0]}." if kept else "There is no checkpoint yet."
            raise TrainingError(f"step {self.step + 1}: {error} {last}") from error
        if update.skipped_because is not None:
            self._listener.noted(f"step {self.step + 1} is skipped: {update.skipped_because}.")
        return update

    def _batch(self, index: int) -> Batch:
        input_ids, labels = self._batches.batch(index)
        return input_ids.to(self.place.device), labels.to(self.place.device)

    def _speed(self, tokens: int, seconds: float) -> float:
        """Return tokens a second, smoothed over the last steps."""
        speed = tokens / max(seconds, 1e-9)
        before = speed if self._tokens_per_s is None else self._tokens_per_s
        self._tokens_per_s = SPEED_MEMORY * before + (1 - SPEED_MEMORY) * speed
        return self._tokens_per_s

    def _share_done(self) -> float:
        """Return how much of the run is done, 0..1."""
        config = self.config
        shares = [0.0]
        if config.max_steps is not None:
            shares.append(self.step / config.max_steps)
        if config.max_minutes is not None:
            shares.append(self._elapsed_s / (60 * config.max_minutes))
        return min(1.0, max(shares))

    def _agree(self) -> None:
        """Decide with the other processes whether the run is over, or is to stop here."""
        config = self.config
        is_late = config.max_minutes is not None and self._elapsed_s >= 60 * config.max_minutes
        late, asked = summed([float(is_late), float(self._stop.is_made)], self.place)
        is_at_end = config.max_steps is not None and self.step >= config.max_steps
        self._is_done, self._is_asked_to_stop = is_at_end or late > 0, asked > 0

    def _evaluate_on_the_way(self) -> None:
        batches, bytes_per_token = self._validation()
        evaluation = evaluate_model(
            self.model,
            batches,
            bytes_per_token,
            self.place,
            chunk_size=self.config.chunk_size,
            most_batches=self.config.eval_batches,
            precision=self._precision,
        )
        self.optimization.adapt(evaluation.loss, self.step)
        self._listener.evaluated(self.step, evaluation)

    def _sample(self) -> None:
        if self._write_text is None:
            return
        # No process has a spread model whole, and one trained for int8 has weights in disguise.
        is_plain = self.place.parallel != "fsdp" and not self.config.use_qat
        model = self.model if is_plain else plain_copy(self.model)
        if self.place.is_first:
            self._listener.sampled(self.step, self._write_text(model, self.step))

    def _save(self) -> int:
        """Write a checkpoint; return its step."""
        weights = whole_weights(self.model)
        state = {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "elapsed_s": self._elapsed_s,
            "settings": asdict(self.config),
            "facts": self._facts,
            "optimization": self.optimization.state_dict(),
        }

        def write_model(folder: Path) -> None:
            write_model_folder(folder, self.model.config, weights)
            self._write_tokenizer(folder)

        if self.place.is_first:
            folder = save_checkpoint(
                self._run_folder, self.step, state, write_model, self.config.keep_checkpoints
            )
            self._listener.saved(self.step, folder)
        return self.step

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from the training state of a checkpoint; the weights are in place already."""
        self.step, self.tokens_seen = state["step"], state["tokens_seen"]
        self._elapsed_before_s = state["elapsed_s"]
        self.optimization.load_state_dict(state["optimization"])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make all that a step draws follow from these three, so that a resumed run draws the same."""
    torch.manual_seed(((seed * 1_000_003 + step) * 8191 + rank) % (1 << 63))


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
