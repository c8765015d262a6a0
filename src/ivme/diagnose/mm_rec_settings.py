"""The settings of an MM-Rec training: those of the run that wrote a folder, or of a preset.

Knows no torch: what runs with them is `mm_rec_step`.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import Target
from ivme.errors import UsageError
from ivme.hardware.cache import cache_folder
from mm_rec.presets import PRESETS
from mm_rec.training.configuration import TrainingConfig, resolve

# Settings of the trainer by those of a step, where the values are the same.
SAME = {
    "batch_size": "batch_size",
    "sequence_length": "seq_len",
    "workers": "num_workers",
    "compile": "use_compile",
    "checkpointing": "use_gradient_checkpointing",
    "accumulation": "gradient_accumulation_steps",
}
TURNED = (*SAME.values(), "use_amp")
# Of where a run was and what it wrote, not of how it trains.
PLACES = (
    "checkpoint_dir", "prepared_dir", "resume_from", "device", "parallel", "checkpoint_interval",
    "keep_checkpoints", "log_interval", "eval_interval", "eval_batches", "sample_interval",
    "sample_prompt", "sample_tokens", "use_tensorboard",
)  # fmt: skip
MOST_STEPS = 1_000_000  # of the learning rate's schedule: its course costs nothing


def is_preset(target: Target) -> bool:
    """Return whether the target is a preset, and no folder."""
    return target.reference in PRESETS


def saved_settings(target: Target) -> dict[str, Any]:
    """Return the settings of the run that wrote a checkpoint folder; none for what is no run.

    Raises UsageError for a folder whose training.json cannot be read.
    """
    path = Path(target.reference, "training.json")
    if is_preset(target) or not path.is_file():
        return {}
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["state"]["settings"]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{path} is damaged; give a checkpoint folder of mm_rec.scripts.pretrain, or a preset"
        ) from error
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    return {name: value for name, value in saved.items() if name in known}


def present_settings(target: Target) -> dict[str, Any]:
    """Return the step's settings as the run had them, or as pretrain takes them for a preset."""
    config = _own_config(target)
    own = {name: getattr(config, theirs) for name, theirs in SAME.items()}
    return {**own, "dtype": "bfloat16" if config.use_amp else "float32"}


def training_flags(target: Target) -> dict[str, Any]:
    """Return what a command must give besides the step's settings to train as the target does."""
    config = _own_config(target)
    usual = resolve(TrainingConfig(model_name=config.model_name))
    flags: dict[str, Any] = {"model_name": config.model_name}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        is_own = field.name not in (*TURNED, *PLACES, "model_name")
        if is_own and value is not None and value != getattr(usual, field.name):
            flags[field.name] = value
    return flags


def training_config(target: Target, settings: StepSettings) -> TrainingConfig:
    """Return the trainer's settings for a step of the target."""
    own = _own_config(target)
    return own.changed(
        **{theirs: getattr(settings, name) for name, theirs in SAME.items()},
        use_amp=settings.dtype == "bfloat16",
        prepared_dir=str(_prepared_folder(target, own.data_dir)),
        max_steps=MOST_STEPS,
        max_minutes=None,
        schedule_by="steps",
        device="cpu",
        parallel=None,
    )


def _own_config(target: Target) -> TrainingConfig:
    """Return the settings of the run or preset, resolved; texts that were given come first."""
    saved = saved_settings(target) or {"model_name": _preset_of(target)}
    if target.texts is not None:
        saved["data_dir"] = target.texts
    return resolve(TrainingConfig(**saved))


def _preset_of(target: Target) -> str:
    """Return the preset that the target is, or of whose shape a model folder is."""
    if is_preset(target):
        return target.reference
    config = json.loads(Path(target.reference, "config.json").read_text(encoding="utf-8"))
    for name, preset in PRESETS.items():
        if all(config.get(key) == value for key, value in preset.items() if key != "vocab_size"):
            return name
    raise UsageError(
        f"{target.reference} has the shape of no preset and no training.json: what trains it is "
        f"not known; give a run of mm_rec.scripts.pretrain, or one of {', '.join(PRESETS)}"
    )


def _prepared_folder(target: Target, texts: str | None) -> Path:
    """Return where tokenizer and tokens are kept between runs, one folder for each input."""
    place = str(Path(texts).absolute()) if texts else "corpus"
    digest = hashlib.sha256(f"{target.reference}\0{place}".encode()).hexdigest()[:12]
    return cache_folder() / "diagnose" / digest
