import subprocess
import sys

import pytest

from mm_rec.errors import ConfigError
from mm_rec.training.run_lock import RunLock

HOLD = """
import sys
from pathlib import Path
from mm_rec.training.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_in_a_folder_refuses_until_the_first_is_gone(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"is in use by process {holder.pid}; wait for it"):
            RunLock(tmp_path)
        holder.kill()
    RunLock(tmp_path).release()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"nothing can be written in .*Not a directory"):
        RunLock(tmp_path / "file" / "run")
