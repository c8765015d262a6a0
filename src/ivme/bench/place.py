"""The place of a bench: device, threads and ceilings, settled before anything is loaded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ivme.engines.traps import find_place_traps
from ivme.hardware.ceilings import Ceilings, read_busy_share
from ivme.hardware.ceilings_cache import cached_ceilings
from ivme.hardware.devices import choose_device
from ivme.hardware.inventory import Inventory, read_inventory
from ivme.hardware.threads import (
    ThreadSettings,
    apply_threads,
    default_threads,
    read_torch_threads,
)

PRODUCTS = {  # the matrix products that an engine's precision is held against
    "float32": "fp32",
    "bfloat16": "bf16",
    "autocast": "bf16",
    "float16": "fp16",
    "int8": "int8",
    "int8-static": "int8",
    "int4": "bf16",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a bench runs, and what that place can do at best."""

    inventory: Inventory
    ceilings: Ceilings
    threads: int

    def device(self, requested: str | None) -> tuple[str, str]:
        """Return the device to run on and why; raises DeviceError if it is not there."""
        choice = choose_device(requested, self.inventory)
        return choice.name, choice.reason

    def ceiling(self, precision: str, device: str) -> tuple[float | None, str | None]:
        """Return the highest measured matrix-product rate in FLOP/s, and the path that had it.

        None where none was measured in that precision, or with as many threads.
        """
        best = self.ceilings.best_product(PRODUCTS[precision], device)
        if best is None or best.threads not in (None, self.threads):
            return None, None
        return best.operations_per_s, best.path

    def as_machine(self) -> dict[str, Any]:
        """Return the machine as a record keeps it, ceilings beside the inventory."""
        return {**asdict(self.inventory), "ceilings": asdict(self.ceilings)}


def settle_place(
    threads: int | None, tell: Callable[[str], None], note: Callable[[str], None]
) -> Place:
    """Bind every library's threads and return the place; measures ceilings once a machine.

    threads: None for the cores that this process may use. tell: told what takes time. note: told
    what weakens the figures.
    """
    inventory = read_inventory(with_torch=True)
    count = threads or default_threads(inventory)
    apply_threads(ThreadSettings(intra=count, inter=1))
    ceilings = cached_ceilings(
        inventory,
        quick=True,
        notify=note,
        progress=lambda what: tell(f"measuring this machine: {what}"),
    )
    used = {"asked for": count, "torch": read_torch_threads().intra}
    for trap in find_place_traps(inventory, used, read_busy_share()):
        note(str(trap))
    return Place(inventory=inventory, ceilings=ceilings, threads=count)
