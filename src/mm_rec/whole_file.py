"""Files that readers see whole: the old one or the new one, never a part."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give the path of a draft to write; at the end it is on the disk, and takes its place.

    Where the block fails, the draft is taken away, and what was there stays. Raises OSError.
    """
    draft = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        draft.touch()  # what cannot be written is found out before any work
        yield draft
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
