"""Benches with a machine measured in no time: what the ceilings are does not matter here."""

from types import SimpleNamespace

import pytest

from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


class PlantedCuda:
    """torch.cuda as far as meters ask it: two GPUs; every call takes 7 bytes on the second."""

    held_bytes = 5  # of something else, on the second

    def is_initialized(self):
        return True

    def device_count(self):
        return 2

    def memory_allocated(self, index):
        return self.held_bytes * index

    def max_memory_allocated(self, index):
        return (self.held_bytes + 7) * index

    def get_device_properties(self, device):
        return SimpleNamespace(uuid={"cuda:0": "first", "cuda:1": "second"}[device])

    def synchronize(self, device=None):
        pass

    def reset_peak_memory_stats(self, index):
        pass

    def empty_cache(self):
        pass


@pytest.fixture
def planted_cuda(monkeypatch):
    """A CUDA that torch seems to use; models stay on the processor."""
    cuda = PlantedCuda()
    for module in ("memory", "meter"):
        monkeypatch.setattr(f"ivme.measure.{module}.cuda_in_use", lambda: cuda)
    return cuda


@pytest.fixture(scope="module", autouse=True)
def quickly_measured_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
        yield
