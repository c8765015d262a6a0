"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is a Transformers model folder with two files more: training.safetensors with the
tensors of the training state, and training.json with the rest of it. Nothing is ever unpickled.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mm_rec.errors import CheckpointError
from mm_rec.training.files import MANIFEST, find_damage, remove_folder, write_folder
from mm_rec.training.model_folder import WEIGHTS_FILE

FORMAT = "mm_rec.checkpoint"
FORMAT_VERSION = 1
TENSORS_FILE = "training.safetensors"
STATE_FILE = "training.json"
PREFIX = "step-"
_TENSOR = "__tensor__"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One checkpoint, read: its folder, the weights by name, and the training state."""

    folder: Path
    weights: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """The step after which it was saved, whatever its folder is called by now."""
        return int(self.state["step"])


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint after so many steps."""
    return run_folder / f"{PREFIX}{step:08d}"


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint's folder, from its name."""
    return int(folder.name.removeprefix(PREFIX))


def list_checkpoints(run_folder: Path) -> list[Path]:
    """Return the folders of all checkpoints, damaged ones too, the newest first."""
    found = [path for path in run_folder.glob(f"{PREFIX}*") if _is_numbered(path)]
    return sorted(found, key=step_of, reverse=True)


def _is_numbered(folder: Path) -> bool:
    """Return whether a folder is called as `checkpoint_folder` calls one."""
    return folder.name.startswith(PREFIX) and folder.name.removeprefix(PREFIX).isdecimal()


def save_checkpoint(
    run_folder: Path,
    step: int,
    state: dict[str, Any],
    write_model: Callable[[Path], None],
    keep: int,
) -> Path:
    """Write a checkpoint whole or not at all, then remove all but the newest `keep`.

    state: nested dicts and lists of tensors and of what JSON can say. write_model: writes the
    model folder's own files. Raises CheckpointError if the disk refuses; older ones stay.
    """

    def write(folder: Path) -> None:
        write_model(folder)
        tensors: dict[str, Tensor] = {}
        plain = _take_tensors(state, "", tensors)
        save_file(tensors, folder / TENSORS_FILE)
        content = {"format": FORMAT, "version": FORMAT_VERSION, "step": step, "state": plain}
        (folder / STATE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")

    target = checkpoint_folder(run_folder, step)
    try:
        write_folder(target, write)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(_refusal(run_folder, step, error)) from error
    for old in list_checkpoints(run_folder)[keep:]:
        remove_folder(old)
    return target


def _refusal(run_folder: Path, step: int, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    kept = list_checkpoints(run_folder)
    rest = (
        f"{kept[0].name} is kept: make room, then resume with --resume_from {run_folder}."
        if kept
        else "make room, or name another --checkpoint_dir."
    )
    return f"cannot write the checkpoint of step {step} in {run_folder}: {reason}; {rest}"


def load_newest(source: Path, warn: Callable[[str], None]) -> Checkpoint:
    """Return the newest checkpoint that is whole, from a run's folder or one checkpoint's.

    Each damaged one on the way is told to `warn`, and the one before it tried. Raises
    CheckpointError if none is left.
    """
    for folder in _candidates(source):
        damage = find_damage(folder)
        if damage is None:
            return read_checkpoint(folder)
        warn(f"{folder} is damaged: {damage}; trying the checkpoint before it.")
    raise CheckpointError(
        f"{source} holds no checkpoint that can be read; name the folder of a run, or start anew "
        "without --resume_from."
    )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return a checkpoint that was found undamaged.

    Raises CheckpointError if it is of another format.
    """
    if not (folder / STATE_FILE).exists():
        raise CheckpointError(f"{folder} is a model without training state; name a run's folder.")
    content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    if content.get("format") != FORMAT or content.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} was written in {content.get('format')} {content.get('version')}; "
            f"expected {FORMAT} {FORMAT_VERSION}."
        )
    return Checkpoint(
        folder=folder,
        weights=_read_tensors(folder / WEIGHTS_FILE),
        state=_put_tensors(content["state"], _read_tensors(folder / TENSORS_FILE)),
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file in memory of their own: a mapped file may be cut or removed."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def _candidates(source: Path) -> list[Path]:
    """Return the checkpoints to try, newest first: those of a run, or one and its elders."""
    if found := list_checkpoints(source):
        return found
    # "." and links have no name of their own.
    folder = source if _is_numbered(source) else source.resolve()
    if _is_numbered(folder):
        return _up_to(step_of(folder), folder.parent)
    if not (folder / MANIFEST).exists():
        return []
    return [folder, *_up_to(_read_step(folder), folder.parent)]  # renamed, or a copy


def _up_to(step: int, run_folder: Path) -> list[Path]:
    """Return the checkpoints of a run after so many steps or fewer, the newest first."""
    return [path for path in list_checkpoints(run_folder) if step_of(path) <= step]


def _read_step(folder: Path) -> int:
    """Return the step that a checkpoint tells; -1 if it does not."""
    try:
        return int(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return the value with each tensor replaced by its name, and collect the tensors."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return {_TENSOR: path}
    if isinstance(value, dict):
        return {key: _take_tensors(one, f"{path}/{key}", tensors) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_take_tensors(one, f"{path}/{index}", tensors) for index, one in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value with each name of a tensor replaced by the tensor."""
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _put_tensors(one, tensors) for key, one in value.items()}
    if isinstance(value, list):
        return [_put_tensors(one, tensors) for one in value]
    return value
