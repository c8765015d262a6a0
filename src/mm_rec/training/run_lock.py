"""The lock on a run's folder: one run at a time. The system lifts it when the process ends."""

import os
from pathlib import Path
from typing import IO

from mm_rec.errors import ConfigError

LOCK_FILE = ".lock"


class RunLock:
    """Holds a run's folder until `release`, or until the process ends in any way.

    Raises ConfigError if another process holds it, or nothing may be written there.
    """

    def __init__(self, run_folder: Path) -> None:
        import fcntl

        try:
            run_folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = (run_folder / LOCK_FILE).open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"nothing can be written in {run_folder}: {error.strerror}; name another folder "
                "with --checkpoint_dir."
            ) from error
        try:
            # A lock of the process: children, such as makers of batches, do not keep it alive.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = self._read_holder()
            self._file.close()
            raise ConfigError(
                f"{run_folder} is in use by {holder}; wait for it, or name another folder with "
                "--checkpoint_dir."
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let others have the folder."""
        self._file.close()

    def _read_holder(self) -> str:
        self._file.seek(0)
        process = self._file.read().strip()
        return f"process {process}" if process else "another process"
