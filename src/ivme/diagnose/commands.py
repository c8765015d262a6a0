"""Command lines that apply settings to the target's own training."""

import shlex
from collections.abc import Mapping
from typing import Any

from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import FILE, MM_REC, Target

PRETRAIN = "python -m mm_rec.scripts.pretrain"
# Settings by the flags of a script on transformers.Trainer.
TRAINER_FLAGS = {
    "batch_size": "--per_device_train_batch_size",
    "workers": "--dataloader_num_workers",
    "prefetch": "--dataloader_prefetch_factor",
    "accumulation": "--gradient_accumulation_steps",
}
TRAINER_SWITCHES = {"compile": "--torch_compile", "checkpointing": "--gradient_checkpointing"}


def command_for(
    target: Target,
    settings: StepSettings,
    facts: Mapping[str, Any],
    accepted: tuple[str, ...],
) -> str:
    """Return what to type, or for a file what to call, to train with these settings.

    Threads are always given: those that torch takes by itself are not always those measured.
    facts: of the target's outline. accepted: the settings that the target takes.
    """
    if target.kind == MM_REC:
        command = _pretrain(settings, facts)
    elif target.kind == FILE:
        names = [name for name in accepted if name != "threads"]
        given = ", ".join(f"{name}={getattr(settings, name)!r}" for name in names)
        command = f"make_step({given})"
    else:
        command = _trainer(facts["model"], settings)
    if target.kind == FILE:
        return f"torch.set_num_threads({settings.threads}); {command}"
    return f"OMP_NUM_THREADS={settings.threads} {command}"


def _pretrain(settings: StepSettings, facts: Mapping[str, Any]) -> str:
    """Return the command of pretrain: the flags of the target's own training, then the step's."""
    flags: list[str] = []
    for name, value in facts["flags"].items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        else:
            flags += [f"--{name}", str(value)]
    flags += ["--batch_size", str(settings.batch_size)]
    flags += ["--seq_len", str(settings.sequence_length)]
    if settings.accumulation > 1:
        flags += ["--gradient_accumulation_steps", str(settings.accumulation)]
    if settings.workers:
        flags += ["--num_workers", str(settings.workers)]
    switches = {
        "--use_amp": settings.dtype == "bfloat16",
        "--use_compile": settings.compile,
        "--use_gradient_checkpointing": settings.checkpointing,
    }
    flags += [flag for flag, is_on in switches.items() if is_on]
    return f"{PRETRAIN} {shlex.join(flags)}"


def _trainer(model: str, settings: StepSettings) -> str:
    """Return the flags of a script that reads TrainingArguments; its own flags come before.

    model: as Transformers knows it. A prefetch factor without workers is refused there.
    """
    flags = ["--use_cpu"]
    for name, flag in TRAINER_FLAGS.items():
        value = getattr(settings, name)
        if name == "prefetch" and not settings.workers:
            continue
        if name == "batch_size" or value != getattr(StepSettings(), name):
            flags += [flag, str(value)]
    if settings.dtype == "bfloat16":
        flags.append("--bf16")
    flags += [flag for name, flag in TRAINER_SWITCHES.items() if getattr(settings, name)]
    return f"python train.py --model_name_or_path {shlex.quote(model)} {' '.join(flags)}"
