"""The stack on which a thread handles signals, kept as it was around a library that changes it.

OpenVINO 2026.4 gives the thread that compiles a model another stack for signal handlers, and does
not take it back when it frees that stack. Python's own handlers run there: at the next Ctrl-C the
process writes into memory that is no longer its own, and dies with all that was measured.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of Linux; see sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread the stack for signal handlers back that it had before the block."""
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    before = _Stack()
    _check(library.sigaltstack(None, ctypes.byref(before)))
    try:
        yield
    finally:
        _check(library.sigaltstack(ctypes.byref(before), None))


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
