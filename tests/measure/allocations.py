"""Functions that fresh processes run, to test what is measured there."""

import os
import signal

import numpy as np

from ivme.measure.memory_guard import memory_guard

MIB = 2**20


def touch(mebibytes: int) -> int:
    """Fill memory, free it, and return how much it was in bytes."""
    return np.ones(mebibytes * MIB, dtype=np.uint8).nbytes


def exceed(growth_limit_bytes: int) -> None:
    with memory_guard(growth_limit_bytes):
        np.ones(growth_limit_bytes * 2, dtype=np.uint8)


def fail() -> None:
    raise ValueError("no such weights")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)
