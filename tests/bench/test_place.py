"""Places: a figure is held against the ceiling of its own device."""

from ivme.bench.place import Place
from ivme.hardware.ceilings import Ceilings, ProductRate
from ivme.hardware.inventory import read_inventory


def product(path: str, device: str, operations_per_s: float) -> ProductRate:
    return ProductRate(
        path=path,
        library="torch",
        precision="bf16",
        how="torch.mm",
        device=device,
        threads=2 if device == "cpu" else None,
        operations_per_s=operations_per_s,
    )


def test_each_gpu_has_the_ceiling_that_was_measured_on_it():
    inventory = read_inventory(with_torch=False)
    ceilings = Ceilings(
        fingerprint=inventory.fingerprint,
        accelerators=("GPU", "GPU"),
        plan="quick",
        threads=2,
        created_at="2026-01-01T00:00:00+00:00",
        elapsed_s=1.0,
        products=(
            product("processor", "cpu", 1e12),
            product("first", "cuda:0", 700e12),
            product("second", "cuda:1", 300e12),
        ),
        copies=(),
        busy_share=0.0,
        openvino_default_precision=None,
    )
    place = Place(inventory=inventory, ceilings=ceilings, threads=2)

    assert place.ceiling("bfloat16", "cuda") == (700e12, "first")
    assert place.ceiling("bfloat16", "cuda:0") == (700e12, "first")
    assert place.ceiling("bfloat16", "cuda:1") == (300e12, "second")
    assert place.ceiling("bfloat16", "cuda:2") == (None, None)
    assert place.ceiling("bfloat16", "cpu") == (1e12, "processor")
