"""Allocations of a known size, for watches on memory to find, here and in fresh processes."""

import mmap
import os
import signal

import numpy as np

from ivme.measure.memory_guard import memory_guard

MIB = 2**20


def fresh_pages(mebibytes: int) -> np.ndarray:
    """Return written pages right from the kernel: a heap that other tests grew hides nothing."""
    pages = np.frombuffer(mmap.mmap(-1, mebibytes * MIB), dtype=np.uint8)
    pages.fill(1)
    return pages


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
