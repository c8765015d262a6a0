"""Copies that show the bandwidth of each level of memory.

A copy reads its source and writes its destination; both count as moved bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ivme.hardware.accelerators import Accelerator
from ivme.hardware.inventory import Inventory

MEMORY_WORKING_SET = 256 << 20  # bytes; at least four times the last cache
BYTES_PER_RUN = 16 << 20  # a small working set is copied until this much moved


@dataclass(frozen=True, kw_only=True)
class CopyPath:
    """One working set to copy, and the level that holds it."""

    level: str  # "L2", "L3", "memory"
    working_set_bytes: int  # source and destination together
    device: str = "cpu"


def copy_paths(inventory: Inventory) -> tuple[CopyPath, ...]:
    """Return the working sets that fit half of L2 and L3, and one that only memory holds."""
    caches = [cache for cache in inventory.processor.caches if cache.level in (2, 3)]
    totals = {f"L{cache.level}": cache.size_bytes * cache.instances for cache in caches}
    within = [CopyPath(level=level, working_set_bytes=size // 2) for level, size in totals.items()]
    wanted = max(MEMORY_WORKING_SET, 4 * max(totals.values(), default=0))
    beyond = min(wanted, inventory.memory.available_bytes // 4)
    return (*within, CopyPath(level="memory", working_set_bytes=beyond))


def accelerator_copy(accelerator: Accelerator) -> CopyPath:
    """Return the copy within the memory of one device."""
    device = f"cuda:{accelerator.index}" if accelerator.kind == "cuda" else accelerator.kind
    size = min(2 << 30, (accelerator.memory_bytes or 8 << 30) // 8)
    return CopyPath(level="memory", working_set_bytes=size, device=device)


def prepare_copy(path: CopyPath) -> tuple[Callable[[], None], int]:
    """Return the copy to time, and the bytes that one run of it moves."""
    import torch

    from ivme.hardware.products.torch_accelerator import synchronize

    source = torch.ones(max(1, path.working_set_bytes // 8), device=path.device)  # 4-byte numbers
    destination = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    repeats = max(1, BYTES_PER_RUN // moved)
    wait = synchronize(path.device) if path.device != "cpu" else None

    def run() -> None:
        for _ in range(repeats):
            destination.copy_(source)
        if wait is not None:
            wait()

    return run, moved * repeats
