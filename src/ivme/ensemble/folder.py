"""A folder of members on disk: manifest.json with SHA-256 of each file, written and checked.

Holds JSON and safetensors only. Knows nothing of what the files mean.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ivme.errors import UsageError
from ivme.whole_file import write_whole

MANIFEST = "manifest.json"
VERSION = 1
MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 2**31
SUFFIXES = (".json", ".safetensors")
PICKLE_SUFFIXES = frozenset(
    (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".npy", ".npz", ".dill", ".h5")
)


def write_folder(
    folder: Path, format_name: str, facts: Mapping[str, Any], files: Mapping[str, bytes]
) -> Path:
    """Write the files, then the manifest that binds them, and return the folder.

    Each file is either its old self or whole; readers refuse the mixture that a crash may leave,
    because the manifest comes last. facts: anything JSON, kept beside the hashes.

    Raises:
        UsageError: a place that cannot be written.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": format_name, "version": VERSION, **facts, "files": hashes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(folder / name, content)
        write_whole(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(
            f"cannot write {folder}: {error.strerror or error}; name a folder that you may write"
        ) from error
    return folder


def read_manifest(folder: Path, format_name: str) -> dict[str, Any]:
    """Return the manifest of a folder that `write_folder` wrote.

    Raises:
        UsageError: no folder, no manifest, a foreign or newer one, or files with unsafe names.
    """
    path = folder / MANIFEST
    _refuse_pickles(folder)
    try:
        manifest = json.loads(_read_bounded(path, MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON ({error}); train or copy it again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != format_name:
        raise UsageError(f"{path} is no manifest of format {format_name!r}; give another folder")
    if manifest.get("version") != VERSION:
        raise UsageError(
            f"{path} is of version {manifest.get('version')!r}; this ivme reads {VERSION}: use the "
            "ivme that wrote it, or train again"
        )
    _check_names(path, manifest.get("files"))
    return manifest


def read_file(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """Return the content of a file that the manifest names, after comparing its hash.

    Raises:
        UsageError: the manifest does not name it, it is missing, or it has changed.
    """
    if name not in manifest["files"]:
        raise UsageError(f"{folder / MANIFEST} does not name {name}; train again")
    content = _read_bounded(folder / name, MAX_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]:
        raise UsageError(
            f"{folder / name} is not the file that the manifest was written for (its SHA-256 "
            "differs); copy the folder again, or train again"
        )
    return content


def _check_names(path: Path, files: object) -> None:
    if not isinstance(files, dict) or not files:
        raise UsageError(f"{path} names no files; train or copy it again")
    for name, digest in files.items():
        if Path(name).name != name or "\\" in name or Path(name).suffix not in SUFFIXES:
            raise UsageError(
                f"{path} names the file {name!r}; only {', '.join(SUFFIXES)} inside the folder "
                "are read"
            )
        if not isinstance(digest, str):
            raise UsageError(f"{path} has no SHA-256 for {name!r}; train or copy it again")


def _refuse_pickles(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that training wrote")
    suspects = PICKLE_SUFFIXES | {".bin"}  # weights of PyTorch, which no member here has
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in suspects)
    if found:
        raise UsageError(
            f"{folder / found[0]} may be a pickle, which could run anything when it is read; only "
            f"{', '.join(SUFFIXES)} belong here: remove it, or train again"
        )


def _read_bounded(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise UsageError(f"{path} has {path.stat().st_size} bytes; at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}; give the folder that training wrote"
        ) from error
