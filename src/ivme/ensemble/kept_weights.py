"""Weights of members, kept until their ensemble is whole: what a training goes on from.

Training a member can take an hour, and something may end the process before the last one is done.
Each is found again by all that it depends on: its settings, the texts, its base, the libraries.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ivme.hardware.cache import cache_folder
from ivme.whole_file import write_json
from ivme.whole_folder import whole_folder

FACTS_FILE, WEIGHTS_FOLDER = "facts.json", "weights"
KEPT_S = 7 * 24 * 3600.0  # after that nobody will go on with it


class KeptWeights:
    """The trained members of one ensemble; `forget` when it is whole."""

    def __init__(self) -> None:
        self._place = cache_folder() / "trained"
        self._used: list[Path] = []
        self._drop_old()

    def train_once(
        self, key: Mapping[str, Any], target: Path, train: Callable[[Path], dict[str, Any]]
    ) -> tuple[dict[str, Any], bool]:
        """Fill `target` with weights, trained now or before; return the facts, and whether before.

        key: all that the weights depend on, as JSON. train: writes the weights into a folder and
        returns facts, as JSON.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        entry = self._place / digest
        self._used.append(entry)
        was_there = (entry / FACTS_FILE).is_file()
        if not was_there:
            with whole_folder(entry) as draft:
                write_json(draft / FACTS_FILE, train(draft / WEIGHTS_FOLDER))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(entry / WEIGHTS_FOLDER, target, copy_function=_link)
        facts: dict[str, Any] = json.loads((entry / FACTS_FILE).read_text(encoding="utf-8"))
        return facts, was_there

    def forget(self) -> None:
        """Remove what was kept: the ensemble has it now."""
        for entry in self._used:
            shutil.rmtree(entry, ignore_errors=True)

    def _drop_old(self) -> None:
        for entry in self._place.glob("*"):
            if time.time() - entry.stat().st_mtime > KEPT_S:
                shutil.rmtree(entry, ignore_errors=True)


def hash_of_texts(*columns: Sequence[str | None]) -> str:
    """Return one SHA-256 over columns of texts."""
    content = json.dumps([list(column) for column in columns])
    return hashlib.sha256(content.encode()).hexdigest()


def hash_of_folder(folder: Path) -> str:
    """Return one SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _link(source: str, target: str) -> str:
    """Give a file a second name, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
