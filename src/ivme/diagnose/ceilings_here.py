"""Ceilings of this machine for training: what torch's own products and copies reach."""

from collections.abc import Callable

from ivme.hardware.ceilings import QUICK_PLAN, Ceilings, measure_ceilings
from ivme.hardware.ceilings_cache import load_ceilings
from ivme.hardware.inventory import Inventory


def training_ceilings(inventory: Inventory, tell: Callable[[str], None]) -> Ceilings:
    """Return the kept ceilings of this machine, or those of torch alone, measured now.

    Training runs in torch, so the other libraries' paths are not needed, and what is measured
    here is not kept: `ivme doctor` measures all.
    """
    kept = load_ceilings(inventory)
    if kept is not None:
        return kept
    from ivme.hardware.products import torch_cpu

    return measure_ceilings(
        inventory,
        QUICK_PLAN,
        paths=torch_cpu.paths(),
        progress=lambda what: tell(f"measuring this machine: {what}"),
    )
