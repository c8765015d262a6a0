"""A learning rate that falls where a metric stops improving; beside a schedule or alone."""

import math
from typing import Any

from torch.optim import Optimizer

from mm_rec.errors import ConfigError

_STATE = ("scale", "least_scale", "best", "bad_checks", "cooldown_left", "last_step")


class AdaptiveLearningRateScheduler:
    """Multiplies the learning rate by `factor` after more than `patience` checks without progress.

    Alone, it changes the optimizer's rates, as torch's ReduceLROnPlateau does. Beside a schedule
    that sets the rates anew in each step, multiply what the schedule says by `scale`: then its own
    change of the optimizer is overwritten by the same one.

    Args:
        optimizer: Whose learning rates to lower.
        mode: "min" if a lower metric is better, "max" if a higher one is.
        factor: What the rate is multiplied by, in (0, 1).
        patience: Checks in a row without progress that are put up with.
        min_lr: Rates are not lowered below it; `scale` not below its share of the peak rate.
        threshold: Progress is a metric better than the best by more than this share of it.
        cooldown: Checks after a reduction that are not held against it.

    Attributes:
        scale: Product of all reductions, 1.0 at first.
        least_scale: What `scale` stops at, by the peak rate that the optimizer began with.
        best: The best metric seen.

    Raises:
        ConfigError: For a value that is not allowed.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.5,
        patience: int = 10,
        min_lr: float = 1e-6,
        threshold: float = 1e-4,
        cooldown: int = 0,
    ) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"mode={mode!r}; expected 'min' or 'max'.")
        if not 0 < factor < 1:
            raise ConfigError(f"factor={factor}; expected a number between 0 and 1.")
        for name, value in (("patience", patience), ("cooldown", cooldown)):
            if value < 0:
                raise ConfigError(f"{name}={value}; expected 0 or more.")
        for name, number in (("min_lr", min_lr), ("threshold", threshold)):
            if not 0 <= number < math.inf:
                raise ConfigError(f"{name}={number}; expected a number from 0 up.")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.min_lr, self.threshold, self.cooldown = min_lr, threshold, cooldown
        self.scale, self.best = 1.0, math.inf if mode == "min" else -math.inf
        self.bad_checks = self.cooldown_left = 0
        self.last_step: int | None = None
        # Schedules of torch keep the peak there, and begin with less.
        peaks = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.least_scale = min(1.0, min_lr / max(peaks)) if max(peaks) > 0 else 1.0

    def step(self, metric: float, step: int | None = None) -> bool:
        """Take note of a metric; return True if it made the learning rate fall.

        step: the training step it was measured at; one not later than the last one noted is left
        out, so that a check repeated after a resume counts once. A metric that is not finite is no
        progress.
        """
        metric = float(metric)
        if step is not None:
            if self.last_step is not None and step <= self.last_step:
                return False
            self.last_step = step
        if self._is_better(metric):
            self.best, self.bad_checks = metric, 0
        else:
            self.bad_checks += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_checks = 0
        if self.bad_checks <= self.patience:
            return False
        self.cooldown_left, self.bad_checks = self.cooldown, 0
        return self._reduce()

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from step to step, as plain numbers; settings are left out."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict; the optimizer's own holds the rates.

        Raises ConfigError for anything else.
        """
        if set(state) != set(_STATE):
            raise ConfigError(f"state holds {sorted(state)}; expected {sorted(_STATE)}.")
        for name in _STATE:
            setattr(self, name, state[name])

    def _is_better(self, metric: float) -> bool:
        if not math.isfinite(metric):
            return False
        if math.isinf(self.best):
            return True
        share = math.copysign(self.threshold, self.best)  # better, whichever sign the best has
        if self.mode == "min":
            return metric < self.best * (1 - share)
        return metric > self.best * (1 + share)

    def _reduce(self) -> bool:
        """Lower `scale` and the optimizer's rates; return whether any of them could be."""
        former = self.scale
        self.scale = max(self.scale * self.factor, min(self.scale, self.least_scale))
        has_fallen = self.scale < former
        for group in self.optimizer.param_groups:
            lowered = max(float(group["lr"]) * self.factor, self.min_lr)
            if lowered < group["lr"]:  # a rate below min_lr, in warm-up, is not raised
                group["lr"] = lowered
                has_fallen = True
        return has_fallen
