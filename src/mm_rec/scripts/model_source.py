"""Which folder a model is in: the one named, or the newest checkpoint of a run."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mm_rec.errors import ConfigError

if TYPE_CHECKING:
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.model import MMRecForCausalLM


def find_model(path: Path) -> Path:
    """Return the folder with the model; of a run, its newest checkpoint that is not damaged.

    Each damaged one on the way is told on stderr. Raises ConfigError if there is none.
    """
    from mm_rec.training.checkpoint import list_checkpoints
    from mm_rec.training.files import find_damage

    if (path / "config.json").is_file():
        return path
    for checkpoint in list_checkpoints(path):
        damage = find_damage(checkpoint)
        if damage is None:
            return checkpoint
        text = f"{checkpoint} is damaged: {damage}; trying the checkpoint before it."
        print(text, file=sys.stderr, flush=True)
    raise ConfigError(f"--model {path}: no model is there; name a run's folder or a model folder.")


def load_model(path: Path, device_name: str) -> "tuple[MMRecForCausalLM, Tokenizer]":
    """Return a trained model, ready to read, and its tokenizer.

    Raises ConfigError if there is none, or it is no MM-Rec model.
    """
    from ivme.models.quiet import quiet_libraries

    with quiet_libraries():
        return _load(path, device_name)


def _load(path: Path, device_name: str) -> "tuple[MMRecForCausalLM, Tokenizer]":
    import mm_rec
    from mm_rec.core.quantization import is_int8_export, load_int8
    from mm_rec.data.tokenizers import load_tokenizer
    from mm_rec.training.distributed import choose_device

    device = choose_device(device_name)
    mm_rec.register()
    folder = find_model(path)
    _check_kind(folder)
    tokenizer = load_tokenizer(folder)
    model = load_int8(folder) if is_int8_export(folder) else _load_whole(folder)
    return model.to(device).eval(), tokenizer


def _check_kind(folder: Path) -> None:
    """Refuse a folder whose model is of another architecture."""
    from mm_rec.configuration import MMRecConfig

    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"--model {folder}: its config.json cannot be read: {error}") from error
    if kind != MMRecConfig.model_type:
        raise ConfigError(
            f"--model {folder}: it holds a model of the kind {kind!r}; expected "
            f"{MMRecConfig.model_type!r}, as mm_rec.scripts.pretrain writes it."
        )


def _load_whole(folder: Path) -> "MMRecForCausalLM":
    """Return the model in a folder that holds all of its weights."""
    from safetensors import SafetensorError

    from mm_rec.model import MMRecForCausalLM

    try:
        model, info = MMRecForCausalLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--model {folder}: it cannot be loaded: {reason}") from error
    if missing := sorted(info["missing_keys"]):
        names = ", ".join(missing[:3])
        raise ConfigError(f"--model {folder}: weights are missing: {names}; train or copy it anew.")
    return model
