"""Cores: what each one did while steps ran, for this process and for all others together."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ivme.measure.utilization import available_cores, processor_utilization

PERIOD_S = 0.005
_TASKS = Path("/proc/self/task")
_STATE, _PROCESSOR = 0, 36  # fields of proc(5) stat after the name, counted from the state


def watch_cores(run: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Return the use of each core while steps run for so long.

    "busy": by anyone, from the kernel's counters. "own": by threads of this process, sampled;
    None where the system does not tell which core a thread is on.
    """
    import psutil

    sampler = _Sampler()
    before = psutil.cpu_times(percpu=True)
    start_s, process_s, steps = time.perf_counter(), time.process_time(), 0
    with sampler:
        while time.perf_counter() - start_s < seconds or not steps:
            run()
            steps += 1
    elapsed_s, process_s = time.perf_counter() - start_s, time.process_time() - process_s
    after = psutil.cpu_times(percpu=True)
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = [
        {"core": index, "busy": _busy(old, new), "own": sampler.share(index)}
        for index, (old, new) in enumerate(zip(before, after, strict=True))
        if usable is None or index in usable
    ]
    return {
        "cores": cores,
        "process": processor_utilization(process_s, elapsed_s, available_cores()),
        "elapsed_s": elapsed_s,
        "steps": steps,
    }


def _busy(before: Any, after: Any) -> float:
    """Return the share of the time in which a core did not idle."""
    total = sum(after) - sum(before)
    idle = after.idle - before.idle + getattr(after, "iowait", 0) - getattr(before, "iowait", 0)
    return max(0.0, 1 - idle / total) if total > 0 else 0.0


class _Sampler:
    """Samples on which cores threads of this process run, from a thread of its own."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._samples = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def share(self, core: int) -> float | None:
        """Return the share of the samples in which the core ran a thread of ours."""
        return min(1.0, self._counts[core] / self._samples) if self._samples else None

    def __enter__(self) -> None:
        if _TASKS.is_dir():
            self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        own = str(threading.get_native_id())
        while not self._stopped.wait(PERIOD_S):
            running = {_core_of(task) for task in _TASKS.iterdir() if task.name != own}
            self._counts.update(core for core in running if core is not None)
            self._samples += 1


def _core_of(task: Path) -> int | None:
    """Return the core that a thread runs on, None if it waits or has ended."""
    try:
        text = (task / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[_PROCESSOR]) if fields[_STATE] == "R" else None
