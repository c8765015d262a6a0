"""Running out of memory as an error that can be caught, and recognizing it.

A configuration that is too large would make Linux kill the whole process, and with it all that
was measured. Under a guard the allocation fails instead, and the sweep goes on.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The rest is left for the system, and for what the process needs to report the failure.
USABLE_PART = 0.95

# What libraries write where they raise no MemoryError, in lower case: torch (CPU and CUDA), oneDNN,
# ONNX Runtime, OpenVINO, the C++ standard library, the C library.
OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "can not allocate",
    "could not allocate",
    "failed to allocate",
    "not enough memory",
    "memory allocation failed",
    "bad_alloc",
    "bad allocation",
    "smaller than requested bytes",
    "could not create a memory object",
)


@contextmanager
def memory_guard(growth_limit_bytes: int | None = None) -> Iterator[int | None]:
    """Limit how much memory the process may add; restore the old limit afterwards.

    growth_limit_bytes: by default nearly all that is available now. Yields the limit that holds,
    or None where the system knows no such limit (any but Linux): there nothing is limited.
    Processes started inside inherit the limit; memory mapped from files is not limited.
    """
    if not sys.platform.startswith("linux"):
        yield None
        return
    import resource

    if growth_limit_bytes is None:
        growth_limit_bytes = int(available_bytes() * USABLE_PART)
    present_bytes = _data_bytes()
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [one for one in (before, hard) if one != resource.RLIM_INFINITY]
    limit_bytes = min([present_bytes + growth_limit_bytes, *bounds])
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    try:
        yield limit_bytes - present_bytes
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def available_bytes() -> int:
    """Return the memory that this process can still get, within its control group."""
    from ivme.hardware.cgroup import read_limits
    from ivme.hardware.inventory import read_memory

    return int(read_memory(read_limits()).available_bytes)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from, says that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        text = str(error).lower()
        if any(phrase in text for phrase in OUT_OF_MEMORY_PHRASES):
            return True
        error = error.__cause__
    return False


def _data_bytes() -> int:
    """Return what RLIMIT_DATA counts: private writable memory, touched or not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")
