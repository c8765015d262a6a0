"""Peak memory: how far resident and CUDA memory grew while something ran.

On Linux the kernel keeps the highest resident size itself and can be told to start anew; other
systems are sampled from a thread, which misses peaks shorter than its period.
"""

import ctypes
import gc
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

SAMPLING_PERIOD_S = 0.002
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM back to the current resident size

# The kernel's peak is one per process: a watch that starts resets it for those already running.
_running: "weakref.WeakSet[PeakMemory]" = weakref.WeakSet()


class PeakMemory:
    """The growth of resident memory since the start, at its highest.

    with PeakMemory() as peak:
        model = load()
    peak.growth_bytes

    Watches may overlap. Memory that was free inside the process before the start is reused
    without growth: measure in a fresh process where that matters.
    """

    def __init__(self) -> None:
        self.method: str | None = None  # "kernel" or "sampled", once started
        self._before_bytes = 0
        self._highest_bytes = 0
        self._cuda_before_bytes: int | None = None
        self._cuda_highest_bytes: int | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take the present size as the one to grow from."""
        for other in _running:
            other._note()
        self._before_bytes = self._highest_bytes = resident_bytes()
        self.method = "kernel" if _reset_kernel_peak() else "sampled"
        self._start_cuda()
        _running.add(self)
        if self.method == "sampled":
            arguments = (weakref.ref(self), self._stopped)
            threading.Thread(target=_sample, args=arguments, daemon=True).start()

    def stop(self) -> None:
        """Keep the highest size until now."""
        self._note()
        self._stopped.set()
        _running.discard(self)

    @property
    def growth_bytes(self) -> int:
        """Return the highest growth of resident memory, until now or until the stop."""
        if self in _running:
            self._note()
        return max(0, self._highest_bytes - self._before_bytes)

    @property
    def cuda_growth_bytes(self) -> int | None:
        """Return the highest growth of memory that torch allocated on CUDA devices.

        None if torch has not used CUDA.
        """
        if self in _running:
            self._note()
        if self._cuda_highest_bytes is None:
            return None
        return max(0, self._cuda_highest_bytes - (self._cuda_before_bytes or 0))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start_cuda(self) -> None:
        cuda = cuda_in_use()
        if cuda is not None:
            self._cuda_before_bytes = cuda_allocated_bytes()
            for one in range(cuda.device_count()):
                cuda.reset_peak_memory_stats(one)

    def _note(self) -> None:
        now_bytes = _kernel_peak_bytes() if self.method == "kernel" else resident_bytes()
        self._highest_bytes = max(self._highest_bytes, now_bytes)
        cuda = cuda_in_use()
        if cuda is not None:
            devices = range(cuda.device_count())
            peak_bytes = sum(cuda.max_memory_allocated(one) for one in devices)
            self._cuda_highest_bytes = max(self._cuda_highest_bytes or 0, peak_bytes)


def _sample(reference: "weakref.ref[PeakMemory]", stopped: threading.Event) -> None:
    """Note the size again and again until the watch stops or nobody holds it any more."""
    while not stopped.wait(SAMPLING_PERIOD_S):
        watch = reference()
        if watch is None:
            return
        watch._highest_bytes = max(watch._highest_bytes, resident_bytes())
        del watch


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM now."""
    if _STATUS.exists():
        return _status_bytes("VmRSS")
    import psutil

    return int(psutil.Process().memory_info().rss)


def cuda_allocated_bytes() -> int:
    """Return the memory that torch holds on all CUDA devices now; 0 if it has not used CUDA."""
    cuda = cuda_in_use()
    if cuda is None:
        return 0
    return sum(cuda.memory_allocated(one) for one in range(cuda.device_count()))


@dataclass(frozen=True, kw_only=True)
class HeldMemory:
    """Memory that is held at one time, or a difference of two."""

    resident_bytes: int
    cuda_bytes: int

    def __sub__(self, other: "HeldMemory") -> "HeldMemory":
        return HeldMemory(
            resident_bytes=self.resident_bytes - other.resident_bytes,
            cuda_bytes=self.cuda_bytes - other.cuda_bytes,
        )


def held_memory() -> HeldMemory:
    """Return the memory of this process that is in RAM and on CUDA devices now."""
    return HeldMemory(resident_bytes=resident_bytes(), cuda_bytes=cuda_allocated_bytes())


def release_free_memory() -> None:
    """Give memory that nothing uses back to the system, so that new use shows as growth.

    Collects garbage, empties CUDA's cache if in use, and trims the C library's heap where it can.
    """
    gc.collect()
    cuda = cuda_in_use()
    if cuda is not None:
        cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc alone has it
        trim(0)


def cuda_in_use() -> Any:
    """Return torch.cuda if this process has used it, else None; imports nothing."""
    torch: ModuleType | None = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _reset_kernel_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _kernel_peak_bytes() -> int:
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_STATUS} has no {field}")
