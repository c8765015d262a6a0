"""The manifest of an ensemble's folder: size and SHA-256 of every file, subfolders included.

Knows nothing of what the files mean. Files that could be pickles are refused wherever they lie.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ivme.ensemble.folder import MANIFEST, MAX_MANIFEST_BYTES, PICKLE_SUFFIXES
from ivme.errors import UsageError
from ivme.whole_file import write_json

FORMAT = "ivme.ensemble"
VERSION = 1
# A weight file of OpenVINO is called .bin too; what is no such file beside its .xml is refused.
_OPENVINO_PAIR = (".bin", ".xml")
REMEDY = "copy the folder again, or train again"

Files = Mapping[str, Mapping[str, Any]]  # path inside the folder -> size_bytes and sha256


def write_manifest(
    folder: Path, *, reports: Iterable[str], names: Iterable[str] | None = None
) -> None:
    """Write the manifest of the files in the folder.

    reports: names of files that are bound as the others are, but decide no answer. names: of the
    files to bind, where they are there; None: all.
    """
    bound = None if names is None else set(names)
    files = {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path != folder / MANIFEST
        and (bound is None or path.relative_to(folder).as_posix() in bound)
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "content_hash": hash_of(files, leave_out=frozenset(reports)),
        "files": files,
    }
    write_json(folder / MANIFEST, content)


def read_manifest(folder: Path, *, reports: Iterable[str]) -> tuple[Files, str]:
    """Return the files that the manifest names, and the hash of all that decides an answer.

    Sizes are compared; `check_file` compares the SHA-256 of one.

    Raises:
        UsageError: no folder, no manifest, a foreign or newer one, a pickle anywhere, a file that
            is missing or of another size.
    """
    refuse_pickles(folder)
    path = folder / MANIFEST
    content = _read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(
            f"{path} is no manifest of format {FORMAT!r}; give the folder that `ivme ensemble "
            "train` wrote"
        )
    if content.get("version") != VERSION:
        raise UsageError(
            f"{path} is of version {content.get('version')!r}; this ivme reads {VERSION}: use the "
            "ivme that wrote it, or train again"
        )
    files = _checked_files(path, content.get("files"))
    content_hash = hash_of(files, leave_out=frozenset(reports))
    if content.get("content_hash") != content_hash:
        raise UsageError(f"{path} was changed: its content_hash is not of its files; {REMEDY}")
    for name, written in files.items():
        _check_size(folder / name, written["size_bytes"])
    return files, content_hash


def check_file(folder: Path, name: str, files: Files) -> Path:
    """Return the path of a file that the manifest names, after comparing its SHA-256.

    Raises:
        UsageError: the manifest does not name it, it is missing, or it has changed.
    """
    if name not in files:
        raise UsageError(f"{folder / MANIFEST} does not name {name}; train again")
    path = folder / name
    _check_size(path, files[name]["size_bytes"])
    if sha256_of(path) != files[name]["sha256"]:
        raise UsageError(
            f"{path} is not the file that the manifest was written for (its SHA-256 differs); "
            f"{REMEDY}"
        )
    return path


def refuse_pickles(folder: Path) -> None:
    """Raise UsageError, naming the file, if one that may be a pickle is anywhere in the folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that `ivme ensemble train` wrote")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICKLE_SUFFIXES or _is_odd_bin(path):
            raise UsageError(
                f"{path} may be a pickle, which could run anything when it is read; only JSON, "
                "safetensors, ONNX and OpenVINO files belong here: remove it, or train again"
            )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; {REMEDY}") from error


def hash_of(files: Files, *, leave_out: frozenset[str]) -> str:
    """Return one SHA-256 over the names and hashes of the files that are not left out."""
    lines = [f"{name} {files[name]['sha256']}" for name in sorted(files) if name not in leave_out]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _is_odd_bin(path: Path) -> bool:
    data, graph = _OPENVINO_PAIR
    return path.suffix.lower() == data and not path.with_suffix(graph).is_file()


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise UsageError(
                f"{path} has {path.stat().st_size} bytes; at most {MAX_MANIFEST_BYTES} are read"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}; give the folder that `ivme ensemble "
            "train` wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON ({error}); {REMEDY}") from error


def _checked_files(path: Path, files: object) -> Files:
    if not isinstance(files, dict) or not files:
        raise UsageError(f"{path} names no files; {REMEDY}")
    for name, written in files.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\\" in name:
            raise UsageError(f"{path} names the file {name!r}, outside of the folder; {REMEDY}")
        if (
            not isinstance(written, dict)
            or not isinstance(written.get("sha256"), str)
            or not isinstance(written.get("size_bytes"), int)
        ):
            raise UsageError(f"{path} has no size and SHA-256 for {name!r}; {REMEDY}")
    return files


def _check_size(path: Path, size_bytes: int) -> None:
    if not path.is_file():
        raise UsageError(f"{path} is missing; {REMEDY}")
    if path.stat().st_size != size_bytes:
        raise UsageError(f"{path} has {path.stat().st_size} bytes, not {size_bytes}; {REMEDY}")
