"""Where a member is trained: the device, its precision, and torch's threads and random numbers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Autocast = Callable[[], AbstractContextManager[Any]]


def training_device(requested: str | None) -> tuple[str, Autocast | None]:
    """Return the device, and the context in which its products are in bfloat16, if it has it."""
    import torch

    from ivme.hardware.devices import choose_device
    from ivme.hardware.inventory import read_inventory
    from mm_rec.core.cpu_amp import has_bfloat16, processor_flags

    device = choose_device(requested, read_inventory(with_torch=True)).name
    kind = device.partition(":")[0]
    has_it = {
        "cpu": lambda: has_bfloat16(processor_flags()),
        "cuda": torch.cuda.is_bf16_supported,
    }
    if kind not in has_it or not has_it[kind]():
        return device, None
    return device, lambda: torch.autocast(kind, dtype=torch.bfloat16)


@contextmanager
def torch_as_it_was(threads: int) -> Iterator[None]:
    """Use so many threads, and leave torch's threads and random numbers as they were."""
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
