"""Sessions: a state in a safetensors file, to go on with tomorrow. Nothing is ever unpickled.

A file names the model that it belongs to by a digest of its weights, and carries a digest of its
own tensors; one that is damaged, foreign or another model's is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from mm_rec.core.projections import fuse
from mm_rec.core.state import LayerState, MMRecState, check_state
from mm_rec.errors import ConfigError
from mm_rec.whole_file import whole_file

FORMAT = "mm_rec.session"
FORMAT_VERSION = "1"


def save_session(
    path: str | os.PathLike,
    state: MMRecState,
    model: PreTrainedModel,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write the state of a model to a file, whole or not at all.

    notes: kept beside it, for `read_notes`; such as a token that was written but not read yet.
    Raises ShapeError if the state is not one of this model's.
    """
    check_state(state, model.config, state.batch_size)
    tensors = {
        name: torch.stack([getattr(layer, name).detach().cpu() for layer in state.layers])
        for name in LayerState._fields
    }
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "model": model_digest(model),
        "tensors": _digest(tensors),
        "notes": json.dumps(dict(notes or {})),
    }
    with whole_file(Path(path)) as draft:
        save_file(tensors, draft, metadata=metadata)


def load_session(path: str | os.PathLike, model: PreTrainedModel) -> MMRecState:
    """Return the state that `save_session` wrote, on the model's device.

    Raises ConfigError for a file that is missing, damaged, no session, or of another model.
    """
    tensors, metadata = _read(Path(path))
    if metadata.get("format") != FORMAT or metadata.get("version") != FORMAT_VERSION:
        raise ConfigError(
            f"{path} is no session of version {FORMAT_VERSION}; expected a file that save_session "
            "wrote."
        )
    if set(tensors) != set(LayerState._fields) or metadata.get("tensors") != _digest(tensors):
        raise ConfigError(f"{path} is damaged; save the session again.")
    if metadata.get("model") != model_digest(model):
        raise ConfigError(
            f"{path} belongs to another model; load it with the model that it was saved with, "
            "whose weights must not have changed."
        )
    layers = zip(*(tensors[name].unbind() for name in LayerState._fields), strict=True)
    state = MMRecState(tuple(LayerState(*layer) for layer in layers)).to(model.device)
    check_state(state, model.config, state.batch_size)
    return state


def read_notes(path: str | os.PathLike) -> dict[str, str]:
    """Return the notes that `save_session` kept; load the session first, which checks the file."""
    _, metadata = _read(Path(path))
    notes: dict[str, str] = json.loads(metadata.get("notes", "{}"))
    return notes


def model_digest(model: PreTrainedModel) -> str:
    """Return a digest of the weights and of what decides how they are used.

    It is the same with HEM on and off.
    """
    config = model.config
    weights = {name: value for name, value in model.named_parameters() if ".uboo." not in name}
    for name in [name for name in weights if name.endswith(".hem.k.weight")]:
        fuse(weights, name.removesuffix("k.weight"), config.projection_widths)
    base = f"{model.base_model_prefix}."
    weights = {name.removeprefix(base): value for name, value in weights.items()}
    usage = [config.recurrence, config.num_heads, config.memory_time_scales, config.norm_eps]
    if config.input_scale != "convex":  # left out, the digests of older sessions stay the same
        usage.append(config.input_scale)
    return hashlib.sha256(f"{json.dumps(usage)} {_digest(weights)}".encode()).hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; expected a saved session.") from None
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is no safetensors file, or is cut short ({error}); "
            "expected a file that save_session wrote."
        ) from error
