import os
import sys
import types

import pytest

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
