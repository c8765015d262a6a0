"""Utilization: the part of the processor and of the GPU that was busy."""

import math
import os
import threading
from typing import Any, Self

GPU_SAMPLING_PERIOD_S = 0.1  # NVIDIA's own averages cover 1/6 s to 1 s


def available_cores() -> float:
    """Return the logical cores that this process may use: affinity, bounded by the quota."""
    from ivme.hardware.cgroup import read_limits

    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = read_limits().quota_cores
    return float(cores) if quota is None else min(float(cores), quota)


def processor_utilization(process_s: float, elapsed_s: float, cores: float) -> float:
    """Return the part of the cores that the process kept busy, 0..1.

    process_s: processor time of all its threads. Raises ValueError unless time has passed.
    """
    if elapsed_s <= 0 or cores <= 0:
        raise ValueError(f"elapsed_s={elapsed_s}, cores={cores}; expected more than 0 of both")
    return min(1.0, process_s / elapsed_s / cores)


class GpuUtilization:
    """The mean utilization of an NVIDIA GPU while blocks run, sampled from a thread.

    with GpuUtilization() as gpu:
        run()
    gpu.mean, or gpu.reason for there being none

    Another block adds its samples to those of the blocks before.

    Args:
        uuid: of the GPU, "GPU-..."; None: the driver's first. The driver's order is not torch's
            where CUDA_VISIBLE_DEVICES or CUDA_DEVICE_ORDER is set.
    """

    def __init__(self, uuid: str | None = None) -> None:
        self.mean: float | None = None  # 0..1
        self.reason: str | None = None
        self._uuid = uuid
        self._samples: list[float] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_sampling(self) -> bool:
        """Return whether a block runs and the GPU answers."""
        return self._thread is not None

    def __enter__(self) -> Self:
        self.reason = None
        try:
            import pynvml
        except ImportError:
            self.reason = "nvidia-ml-py is not installed: pip install 'ivme[gpu]'"
            return self
        try:
            pynvml.nvmlInit()
            device = self._handle(pynvml)
        except pynvml.NVMLError as error:
            self.reason = f"no NVIDIA GPU {self._uuid or 0} answers: {error}"
            return self
        self._stopped.clear()
        self._thread = threading.Thread(target=self._sample, args=(pynvml, device), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is None:
            return
        self._stopped.set()
        self._thread.join()
        self._thread = None
        if self._samples:
            self.mean = math.fsum(self._samples) / len(self._samples)
        elif self.reason is None:
            self.reason = f"the run was shorter than a sample ({GPU_SAMPLING_PERIOD_S} s)"

    def _handle(self, pynvml: Any) -> Any:
        if self._uuid is None:
            return pynvml.nvmlDeviceGetHandleByIndex(0)
        return pynvml.nvmlDeviceGetHandleByUUID(self._uuid)

    def _sample(self, pynvml: Any, device: Any) -> None:
        try:
            while not self._stopped.wait(GPU_SAMPLING_PERIOD_S):
                percent = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
                self._samples.append(percent / 100)
        except pynvml.NVMLError as error:
            self.reason = f"the GPU does not tell its utilization: {error}"
        finally:
            pynvml.nvmlShutdown()
