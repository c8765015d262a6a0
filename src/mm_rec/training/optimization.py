"""Optimization: AdamW or Muon, the learning rate of each step, clipping, and what resumes them."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mm_rec.core.adaptive_learning import AdaptiveLearningRateScheduler
from mm_rec.core.cpu_amp import CPUAutocast, CPUScaler
from mm_rec.core.muon import Muon
from mm_rec.training.configuration import TrainingConfig
from mm_rec.training.distributed import Place, spread, whole
from mm_rec.training.gradients import GradientGuard
from mm_rec.training.schedule import make_schedule, parameter_groups

# A schedule by time is a schedule over so many fictitious steps.
TIME_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became of one step."""

    gradient_norm: float  # before clipping
    learning_rate: float
    skipped_because: str | None


class Optimization:
    """Changes the weights of a model from their gradients, one step after the other.

    model: as shared between the processes. The learning rate is that of the schedule times the
    scale of the adaptive one, if that is on.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, place: Place) -> None:
        assert config.learning_rate is not None, "resolve the configuration first"
        self._names = dict(model.named_parameters())
        self._config = config
        groups = parameter_groups(model, config.weight_decay)
        betas = (config.adam_beta1, config.adam_beta2)
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "muon":
            self.optimizer = Muon(model, groups, config.learning_rate, betas)
        else:
            self.optimizer = torch.optim.AdamW(
                groups, lr=config.learning_rate, betas=betas, fused=True
            )
        self._share = _schedule_of(config)
        self.adaptive = _adaptive_of(self.optimizer, config) if config.use_adaptive_lr else None
        # A process that holds a part of the gradients would find its own infinities alone, and the
        # scales would part; bfloat16 needs none, and the guard looks at the norm of them all.
        is_scaled = config.use_amp and place.parallel != "fsdp"
        self.scaler = CPUScaler(device=place.device.type) if is_scaled else None
        self.guard = GradientGuard(config.grad_norm_guard)

    def step(self, step: int, share_done: float, loss: float) -> Update:
        """Change the weights, unless the guard objects, and clear the gradients.

        step: steps done before; share_done: 0..1 of the run; loss: the mean over all processes.
        Raises TrainingError where too many steps in a row had to be skipped.
        """
        rate = self._learning_rate(step, share_done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        reason = self.guard.reason_to_skip(loss, norm)
        if self.scaler is not None:
            if reason is None:
                self.scaler.step(self.optimizer)
            self.scaler.update()
        elif reason is None:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Update(gradient_norm=norm, learning_rate=rate, skipped_because=reason)

    def adapt(self, validation_loss: float, step: int) -> None:
        """Tell the adaptive learning rate how well the model does."""
        if self.adaptive is not None:
            self.adaptive.step(validation_loss, step)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, whole tensors; every process must call it."""
        states = {
            name: {key: whole(value) for key, value in self.optimizer.state[parameter].items()}
            for name, parameter in self._names.items()
            if parameter in self.optimizer.state
        }
        return {
            "optimizer": self._config.optimizer,
            "moments": states,
            "guard": self.guard.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "adaptive": None if self.adaptive is None else self.adaptive.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; what was off then, or another optimizer's, starts anew."""
        is_own = state["optimizer"] == self._config.optimizer
        for name, moments in state["moments"].items():
            if is_own and name in self._names:
                parameter = self._names[name]
                self.optimizer.state[parameter] = {
                    key: spread(value, parameter) if value.ndim else value.to(parameter.device)
                    for key, value in moments.items()
                }
        self.guard.load_state_dict(state["guard"])
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])
        if self.adaptive is not None and state["adaptive"] is not None:
            self.adaptive.load_state_dict(state["adaptive"])

    def _learning_rate(self, step: int, share_done: float) -> float:
        config = self._config
        assert config.learning_rate is not None
        assert config.warmup_steps is not None
        if config.schedule_by == "time":
            warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
            share = warm * self._share(int(min(1.0, share_done) * TIME_STEPS))
        else:
            share = self._share(step)
        return config.learning_rate * share * (self.adaptive.scale if self.adaptive else 1.0)

    def _clip(self) -> float:
        """Return the norm of all gradients, and shorten them to `grad_clip` if they are longer."""
        gradients = [one.grad for one in self._names.values() if one.grad is not None]
        length = float(whole(torch.nn.utils.get_total_norm(gradients)))
        limit = self._config.grad_clip
        if limit and length > limit:
            torch._foreach_mul_(gradients, limit / length)
        return length


def precision_of(config: TrainingConfig, place: Place) -> AbstractContextManager[Any]:
    """Return the context that forward passes run in; it can be entered again and again."""
    if not config.use_amp:
        return nullcontext()
    return CPUAutocast(dtype=torch.bfloat16, device=place.device.type)


def _schedule_of(config: TrainingConfig) -> Any:
    """Return the share of the peak learning rate, by step or by fictitious step of time."""
    if config.schedule_by == "time":
        return make_schedule(config.lr_schedule, 0, TIME_STEPS, config.min_lr_share)
    assert config.warmup_steps is not None
    assert config.max_steps is not None
    return make_schedule(
        config.lr_schedule, config.warmup_steps, config.max_steps, config.min_lr_share
    )


def _adaptive_of(
    optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> AdaptiveLearningRateScheduler:
    return AdaptiveLearningRateScheduler(
        optimizer,
        mode="min",
        factor=config.adaptive_lr_factor,
        patience=config.adaptive_lr_patience,
        min_lr=0.0,
        threshold=1e-4,
        cooldown=0,
    )
