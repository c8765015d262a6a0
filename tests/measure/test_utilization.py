import os
import sys
import threading
import types

import pytest

from ivme.measure import utilization
from ivme.measure.utilization import GpuUtilization, available_cores, processor_utilization


def test_the_processor_utilization_is_the_busy_part_of_the_cores():
    assert processor_utilization(1.0, 1.0, 2.0) == 0.5
    assert processor_utilization(8.5, 2.0, 4.0) == 1.0  # clocks differ by a little
    with pytest.raises(ValueError, match=r"elapsed_s=0.0, cores=2.0; expected more than 0"):
        processor_utilization(1.0, 0.0, 2.0)


def test_the_available_cores_are_within_the_machine():
    assert 0 < available_cores() <= os.cpu_count()


def test_without_the_library_the_reason_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with GpuUtilization() as gpu:
        pass
    assert gpu.mean is None
    assert gpu.reason == "nvidia-ml-py is not installed: pip install 'ivme[gpu]'"


def test_without_a_gpu_the_reason_says_so(monkeypatch):
    class NVMLError(Exception):
        pass

    def refuse() -> None:
        raise NVMLError("Driver Not Loaded")

    library = types.SimpleNamespace(NVMLError=NVMLError, nvmlInit=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    with GpuUtilization() as gpu:
        pass
    assert gpu.mean is None
    assert gpu.reason == "no NVIDIA GPU 0 answers: Driver Not Loaded"


class PlantedDriver:
    """NVIDIA's library as far as it is asked: every GPU is as busy as `percent` says."""

    NVMLError = RuntimeError

    def __init__(self) -> None:
        self.percent = 0
        self.asked_for: list[str] = []
        self.was_sampled = threading.Event()

    def nvmlInit(self) -> None:
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked_for.append(uuid)
        return uuid

    def nvmlDeviceGetUtilizationRates(self, device: str):
        self.was_sampled.set()
        return types.SimpleNamespace(gpu=self.percent)


def test_a_second_block_adds_its_samples_to_those_of_the_first(monkeypatch):
    driver = PlantedDriver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(utilization, "GPU_SAMPLING_PERIOD_S", 1e-3)
    gpu = GpuUtilization("GPU-second")
    for percent in (20, 60):
        driver.percent = percent
        driver.was_sampled.clear()
        with gpu:
            assert gpu.is_sampling
            assert driver.was_sampled.wait(timeout=60)
        assert not gpu.is_sampling
    assert 0.2 < gpu.mean < 0.6
    assert gpu.reason is None
    assert driver.asked_for == ["GPU-second"] * 2
