"""The training step of a target: one record for all kinds, made inside a child process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import FILE, MM_REC, Target

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """A training set-up, ready to run."""

    run: Callable[[], object]  # makes one optimizer step
    tokens: int | None  # a step; None: not known
    items: int | None
    model: "nn.Module | None" = None  # None: not told; found by hooks
    optimizer: "Optimizer | None" = None
    tokenize_item: Callable[[], object] | None = None  # one item, where no step tokenizes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is known of a target before a step of it is built; plain values."""

    defaults: Mapping[str, Any]  # settings that the target itself suggests
    turnable: tuple[str, ...]  # settings that it takes
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)  # for commands that apply settings


def outline_of(target: Target) -> Outline:
    """Return the outline of a target; makes presets and imports files.

    Raises UsageError, or whatever the user's file raises.
    """
    if target.kind == MM_REC:
        from ivme.diagnose.mm_rec_step import outline_mm_rec

        return outline_mm_rec(target)
    if target.kind == FILE:
        from ivme.diagnose.file_step import outline_file

        return outline_file(target)
    from ivme.diagnose.model_step import outline_model

    return outline_model(target)


def build_step(target: Target, settings: StepSettings) -> TrainingStep:
    """Return the training step of a target with these settings."""
    if target.kind == MM_REC:
        from ivme.diagnose.mm_rec_step import build_mm_rec_step

        return build_mm_rec_step(target, settings)
    if target.kind == FILE:
        from ivme.diagnose.file_step import build_file_step

        return build_file_step(target, settings)
    from ivme.diagnose.model_step import build_model_step

    return build_model_step(target, settings)
