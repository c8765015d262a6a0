"""Exported copies of models, kept by content hash: made once, checked, shared between runs.

A folder of the cache holds one artefact: the engine's files and manifest.json with a checksum of
each. It appears whole or not at all, so processes may ask for the same one at the same time.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.protocol import ArtefactEngine, EngineOptions
from ivme.hardware.cache import cache_folder
from ivme.whole_file import write_json

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


def cached_artefact(engine: ArtefactEngine, model: "LoadedModel", options: EngineOptions) -> Path:
    """Return the folder of the engine's artefact of the model, built now if the cache lacks it.

    A damaged one is built again.

    Raises:
        RefusedError: the engine cannot export this model.
    """
    key = artefact_key(engine, model, options)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder() / "artefacts" / digest
    if find_damage(folder) is None:
        return folder
    with _alone(folder):
        if find_damage(folder) is None:  # another process was faster
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        _build(engine, model, options, folder, key)
    return folder


def artefact_key(
    engine: ArtefactEngine, model: "LoadedModel", options: EngineOptions
) -> dict[str, Any]:
    """Return everything that decides what an artefact's files contain."""
    calibration = None
    if options.precision == "int8-static":
        texts = "\0".join(options.calibration_texts).encode("utf-8", "surrogatepass")
        calibration = hashlib.sha256(texts).hexdigest()
    return {
        "format": FORMAT_VERSION,
        "engine": engine.name,
        "precision": engine.stored_precision(options),
        "model": model.content_hash,
        "kind": model.kind,
        "pooling": None if model.pooling is None else asdict(model.pooling),
        "max_length": options.max_length if calibration else None,
        "calibration": calibration,
        "versions": engine.versions(),
    }


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with an artefact's folder, or None if every file is as it was written.

    Sizes are compared, and checksums of files below a mebibyte; reading gigabytes at every start
    would cost more than building some of them.
    """
    try:
        files: Mapping[str, Mapping[str, Any]] = _read_manifest(folder)["files"]
        for name, written in files.items():
            path = folder / name
            if path.stat().st_size != written["size_bytes"]:
                return f"{name} has another size"
            if written["size_bytes"] <= 2**20 and _checksum(path) != written["sha256"]:
                return f"{name} has another checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def write_manifest(folder: Path, key: Mapping[str, Any]) -> None:
    """Write down the sizes and checksums of all files in the folder."""
    files = {
        str(path.relative_to(folder)): {
            "size_bytes": path.stat().st_size,
            "sha256": _checksum(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"key": key, "files": files})


def _read_manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return content


def _build(
    engine: ArtefactEngine,
    model: "LoadedModel",
    options: EngineOptions,
    folder: Path,
    key: Mapping[str, Any],
) -> None:
    """Build into a temporary folder beside the final one, then rename."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
    try:
        engine.build(model, options, temporary)
        write_manifest(temporary, key)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time build an artefact; the others wait."""
    import fcntl

    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.parent / f"{folder.name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
