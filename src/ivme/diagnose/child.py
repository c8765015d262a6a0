"""The child process: builds one training step, runs it when asked, and says what went wrong.

It speaks to `step_process` through a pipe: a request is a name and arguments, an answer is plain
values or an error in words.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import FILE, Target
from ivme.diagnose.training_step import TrainingStep, build_step, outline_of
from ivme.errors import UsageError
from ivme.measure.memory import PeakMemory, cuda_in_use
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from mm_rec.errors import ConfigError, DataError

WRONG_USE = (UsageError, ConfigError, DataError)
# What libraries write where there is no such device, in lower case.
GPU_PHRASES = (
    "not compiled with cuda",
    "no cuda gpus are available",
    "no nvidia driver",
    "no cuda-capable device",
    "not compiled with xpu",
    "not linked with support for mps",
    "mps backend is not available",
    "cannot access accelerator device",
    "cuda is not available",
    "requires a gpu",
)


def serve(connection: Connection, target: Target, log: str) -> None:
    """Answer requests until the pipe is closed; what the step prints goes to the log."""
    if not Path(log).parent.is_dir():  # the command was interrupted before this process began
        return
    os.setsid()  # so that the parent can end the step together with its own workers
    _write_to(log)
    _end_with_parent()
    # Data workers of the step start as they would without us.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    worker = _Worker(target)
    with memory_guard():
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:
                return
            connection.send(_answer(worker, name, arguments, target))


def _answer(
    worker: "_Worker", name: str, arguments: Mapping[str, Any], target: Target
) -> dict[str, Any]:
    request: Callable[..., Any] = getattr(worker, name)
    try:
        return {"value": request(**arguments)}
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        return {"error": _kind_of(error), "message": _message(error, target)}


class _Worker:
    """One training step and what can be asked about it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._step: TrainingStep | None = None
        self._peak = PeakMemory()

    def outline(self) -> dict[str, Any]:
        """Return what is known of the target before anything is built."""
        return asdict(outline_of(self._target))

    def build(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Build the step, and return its sizes; peak memory counts from here on."""
        import torch

        chosen = StepSettings(**settings)
        torch.set_num_threads(chosen.threads)
        self._peak.start()
        self._step = build_step(self._target, chosen)
        return {
            "tokens": self._step.tokens,
            "items": self._step.items,
            "notes": list(self._step.notes),
        }

    def run(self, steps: int) -> dict[str, Any]:
        """Run so many steps; return seconds and processor seconds of each."""
        step, seconds, processor = self._built(), [], []
        for _ in range(steps):
            processor_s, start_s = time.process_time(), time.perf_counter()
            step.run()
            cuda = cuda_in_use()
            if cuda is not None:
                cuda.synchronize()
            seconds.append(time.perf_counter() - start_s)
            processor.append(time.process_time() - processor_s)
        return {"seconds": seconds, "processor_s": processor}

    def memory(self) -> dict[str, Any]:
        """Return the peak memory since before the step was built, and that of its workers."""
        return {
            "peak_bytes": self._peak.growth_bytes,
            "cuda_peak_bytes": self._peak.cuda_growth_bytes,
            "method": self._peak.method,
            "worker_bytes": _children_bytes(),
        }

    def phases(self, steps: int, has_warm_up: bool) -> dict[str, Any]:
        """Return the seconds of each phase of so many steps, without a profiler."""
        from ivme.diagnose.anatomy import measure_phases

        return measure_phases(self._built(), steps, has_warm_up=has_warm_up)

    def operators(self, steps: int, has_warm_up: bool) -> dict[str, Any]:
        """Return time and work of each operator and source line; slower than a plain step."""
        from ivme.diagnose.anatomy import measure_operators

        return measure_operators(self._built(), steps, has_warm_up=has_warm_up)

    def kinds(self) -> dict[str, Any]:
        """Return what the memory of a step holds."""
        from ivme.diagnose.memory_kinds import measure_kinds

        return measure_kinds(self._built())

    def cores(self, seconds: float) -> dict[str, Any]:
        """Return what each core did while steps ran."""
        from ivme.diagnose.cores import watch_cores

        return watch_cores(self._built().run, seconds)

    def leak(self, steps: int) -> dict[str, Any] | None:
        """Return what grows from step to step, None if nothing does."""
        from ivme.diagnose.leaks import find_leak

        return find_leak(self._built().run, steps)

    def _built(self) -> TrainingStep:
        assert self._step is not None, "ask for build first"
        return self._step


def _children_bytes() -> int:
    """Return the memory that worker processes have for themselves."""
    import psutil

    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_full_info().uss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _write_to(log: str) -> None:
    file = open(log, "w", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    if hasattr(faulthandler, "register"):  # where there are such signals
        faulthandler.register(signal.SIGUSR1, file=file, all_threads=False)


def _end_with_parent() -> None:
    """End this process when the one that asked for it has ended, even while a step hangs."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _kind_of(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "memory"
    if needs_gpu(error):
        return "gpu"
    return "usage" if isinstance(error, WRONG_USE) else "other"


def needs_gpu(error: BaseException) -> bool:
    """Return whether an error says that a device is not on this machine."""
    text = str(error).lower()
    return any(phrase in text for phrase in GPU_PHRASES)


def _message(error: BaseException, target: Target) -> str:
    """Return the error in one line; that of a user's file with the line it came from."""
    if isinstance(error, WRONG_USE):
        return str(error)
    said = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if target.kind != FILE:
        return text
    return f"{_place(error, target.reference)}: {text}"


def _place(error: BaseException, path: str) -> str:
    """Return the last line of the user's file that the error went through."""
    name = str(Path(path).absolute())
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if str(Path(frame.filename).absolute()) == name:
            return f"{path}, line {frame.lineno}, in {frame.name}()"
    return path
