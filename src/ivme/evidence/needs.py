"""What a command needs of a machine, and why it cannot run where that is missing."""

import importlib.util
import shutil
from collections.abc import Callable

from ivme.hardware.inventory import Inventory


def no_gpu(inventory: Inventory) -> str | None:
    """Return why there is no CUDA device to measure on, None if there is one."""
    is_there = any(one.kind == "cuda" and one.is_usable for one in inventory.accelerators)
    return None if is_there else "no CUDA device"


def no_java(inventory: Inventory) -> str | None:
    """Return what H2O lacks here, None if it runs."""
    if shutil.which("java") is None:
        return "no Java"
    return None if importlib.util.find_spec("h2o") else "no h2o (pip install 'ivme[h2o]')"


def one_core(inventory: Inventory) -> str | None:
    """Return why threads cannot be compared, None if there are two cores or more."""
    return "only one usable core" if inventory.processor.usable_cores < 2 else None


NEEDS: dict[str, Callable[[Inventory], str | None]] = {
    "gpu": no_gpu,
    "java": no_java,
    "cores": one_core,
}
