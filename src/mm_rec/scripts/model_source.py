"""Which folder a model is in: the one named, or the newest checkpoint of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from mm_rec.errors import ConfigError

if TYPE_CHECKING:
    from mm_rec.data.tokenizers import Tokenizer
    from mm_rec.model import MMRecForCausalLM


def find_model(path: Path) -> Path:
    """Return the folder with the model; of a run, its newest checkpoint that is not damaged.

    Raises ConfigError if there is none.
    """
    from mm_rec.training.checkpoint import list_checkpoints
    from mm_rec.training.files import find_damage

    if (path / "config.json").is_file():
        return path
    for checkpoint in list_checkpoints(path):
        if find_damage(checkpoint) is None:
            return checkpoint
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
    from mm_rec.model import MMRecForCausalLM
    from mm_rec.training.distributed import choose_device

    device = choose_device(device_name)
    mm_rec.register()
    folder = find_model(path)
    tokenizer = load_tokenizer(folder)
    if is_int8_export(folder):
        return load_int8(folder).to(device), tokenizer
    try:
        model = MMRecForCausalLM.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--model {folder}: it cannot be loaded: {reason}") from error
    return model.to(device).eval(), tokenizer
