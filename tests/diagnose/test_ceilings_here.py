from ivme.diagnose import ceilings_here
from ivme.hardware.ceilings import CeilingPlan
from ivme.hardware.inventory import read_inventory

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


def test_kept_ceilings_are_taken(monkeypatch):
    kept = object()
    monkeypatch.setattr(ceilings_here, "load_ceilings", lambda inventory: kept)
    assert ceilings_here.training_ceilings(read_inventory(), print) is kept


def test_without_kept_ones_those_of_torch_are_measured_and_told(monkeypatch):
    monkeypatch.setattr(ceilings_here, "load_ceilings", lambda inventory: None)
    monkeypatch.setattr(ceilings_here, "QUICK_PLAN", TINY_PLAN)
    told = []
    found = ceilings_here.training_ceilings(read_inventory(), told.append)
    assert {one.library for one in found.products} == {"torch"}
    assert told
    assert all(text.startswith("measuring this machine: ") for text in told)
