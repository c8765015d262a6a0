"""Benches with a machine measured in no time: what the ceilings are does not matter here."""

import pytest

from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


@pytest.fixture(scope="module", autouse=True)
def quickly_measured_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
        yield
