"""Folders of files that appear whole or not at all, with a checksum of each file.

Owns the manifest and the order of writing; knows nothing of what the files hold.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"
DRAFT_PREFIX = ".draft-"
BLOCK_BYTES = 1 << 20


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a draft folder, then put it in the place of `target`.

    Every file is on the disk, and its checksum in the manifest, before the folder gets its name.
    A folder that was there is replaced. Raises OSError; the draft is taken away then.
    """
    draft = target.with_name(f"{DRAFT_PREFIX}{target.name}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        write(draft)
        _write_manifest(draft)
        for path in (*_files(draft), *_folders(draft), draft):
            _sync(path)
        if target.exists():
            target.rename(draft.with_name(f"{draft.name}-replaced"))
        draft.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    remove_drafts(target.parent)


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a folder that `write_folder` made, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected: dict[str, str] = manifest["sha256"]
        for name, checksum in expected.items():
            if _checksum(folder / name) != checksum:
                return f"{name} does not match its checksum"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__})"
    return None


def remove_folder(folder: Path) -> None:
    """Remove a folder that `write_folder` made; it loses its name first, so never half-gone."""
    doomed = folder.with_name(f"{DRAFT_PREFIX}{folder.name}-{secrets.token_hex(4)}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_drafts(parent: Path) -> None:
    """Remove what writers that were killed left behind; no other may be writing here."""
    for draft in parent.glob(f"{DRAFT_PREFIX}*"):
        shutil.rmtree(draft, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    sums = {str(path.relative_to(folder)): _checksum(path) for path in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_dir())


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
