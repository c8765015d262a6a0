"""Files that readers see whole: the old one or the new one, never a part."""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file through to the disk beside its place, then rename it there.

    Text is written as UTF-8. Missing folders are made; permissions are what the process gives to
    new files, so that others may read what they are handed. Raises OSError, and leaves nothing.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):  # after the rename there is no draft left
            draft.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole; raises as `write_whole`, and TypeError for what JSON cannot hold."""
    write_whole(path, json.dumps(content))
