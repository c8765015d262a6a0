"""The folder where ivme keeps what it can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: IVME_CACHE_DIR, else XDG_CACHE_HOME/ivme, else ~/.cache/ivme.

    The folder is not made here; who writes makes it.
    """
    if chosen := os.environ.get("IVME_CACHE_DIR"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "ivme"
    return Path.home() / ".cache" / "ivme"
