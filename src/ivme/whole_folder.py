"""Folders that readers see whole: the old one or the new one, never a part."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a draft to fill beside the folder's place; at the end it takes the place.

    An older folder there makes way. Where the block fails, the draft is taken away, and what was
    there stays. Folders above are made. Raises OSError.
    """
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}."))
    try:
        draft.chmod(0o755)  # mkdtemp makes it private
        yield draft
        swap_in(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def swap_in(draft: Path, target: Path) -> None:
    """Write the finished draft through to disk, then rename it to its place.

    An older folder there makes way first. Both must be on one file system.
    """
    for path in draft.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if not target.exists():
        draft.rename(target)
        return
    old = Path(tempfile.mkdtemp(dir=target.absolute().parent, prefix=f".{target.name}.old."))
    try:
        target.rename(old / target.name)
        draft.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)
