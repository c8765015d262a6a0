"""Targets: what can be diagnosed, told apart by name before anything heavy is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from ivme.errors import UsageError
from ivme.models.presets import PREFIX, PRESETS
from mm_rec.presets import PRESETS as MM_REC_PRESETS

MM_REC, MODEL, FILE = "mm_rec", "model", "file"
CHECKPOINTS = "step-*"  # in the folder of a run of mm_rec.scripts.pretrain


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to diagnose; plain values, as it crosses to other processes."""

    kind: str  # MM_REC, MODEL, FILE
    reference: str  # preset, folder, hub id, or the path of the Python file
    texts: str | None = None
    model_kind: str | None = None


def find_target(name: str, *, texts: str | None = None, model_kind: str | None = None) -> Target:
    """Return what a name on the command line means.

    A path that ends in .py, or is a file, is a Python file; the name of an MM-Rec preset, a folder
    with an MM-Rec config or that of a run, of which the newest whole checkpoint counts, is MM-Rec;
    all else is a model for `ivme.models`. A folder comes before a preset of its name.

    Raises UsageError for a Python file that is not there, a run without a whole checkpoint, or an
    option that the kind has no use for.
    """
    kind, reference = _kind_of(name)
    if kind == FILE and (texts or model_kind):
        option = "--texts" if texts else "--kind"
        raise UsageError(f"{option} belongs to models; {name} makes its own batches and model")
    if kind == MM_REC and model_kind:
        raise UsageError(f"--kind {model_kind} belongs to other models; {name} is MM-Rec")
    return Target(kind=kind, reference=reference, texts=texts, model_kind=model_kind)


def _kind_of(name: str) -> tuple[str, str]:
    path = Path(name).expanduser()
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise UsageError(f"no file {name}; give a Python file that offers make_step()")
        return FILE, str(path)
    bare = name.removeprefix(PREFIX)
    if bare in MM_REC_PRESETS and not path.exists():
        return MM_REC, bare
    if _model_type(path) == "mm_rec":  # by a path that is never the name of a preset
        return MM_REC, str(path.absolute() if str(path) in MM_REC_PRESETS else path)
    if not (path / "config.json").is_file() and any(path.glob(CHECKPOINTS)):
        return MM_REC, str(_newest_checkpoint(path))
    if bare in PRESETS and not path.exists():
        return MODEL, PREFIX + bare
    return MODEL, name


def _newest_checkpoint(run: Path) -> Path:
    from mm_rec.errors import ConfigError
    from mm_rec.scripts.model_source import find_model

    try:
        return find_model(run)
    except ConfigError as error:
        raise UsageError(f"{run}: none of its checkpoints is whole; give another run") from error


def _model_type(folder: Path) -> str | None:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None
