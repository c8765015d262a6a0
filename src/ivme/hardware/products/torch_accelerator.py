"""Products through torch on a CUDA or MPS device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ivme.hardware.accelerators import Accelerator
from ivme.hardware.products.product import (
    PreparedProduct,
    ProductPath,
    as_array,
    float_operands,
)

CALLS_PER_RUN = 10
TF32_CAPABILITY = (8, 0)


def paths(accelerator: Accelerator) -> tuple[ProductPath, ...]:
    """Return the products to measure on one device."""
    device = f"cuda:{accelerator.index}" if accelerator.kind == "cuda" else accelerator.kind
    precisions = ["fp32", "bf16", "fp16"]
    if accelerator.kind == "cuda" and _capability(accelerator) >= TF32_CAPABILITY:
        precisions.insert(1, "tf32")
    return tuple(
        ProductPath(
            name=f"torch-{device}-{precision}",
            library="torch",
            precision=precision,
            how="torch.mm",
            device=device,
            prepare=partial(_prepare, device, precision),
        )
        for precision in precisions
    )


def synchronize(device: str) -> Callable[[], None]:
    """Return the function that waits for a device."""
    import torch

    return partial(torch.cuda.synchronize, device) if device != "mps" else torch.mps.synchronize


def _capability(accelerator: Accelerator) -> tuple[int, ...]:
    return tuple(int(part) for part in (accelerator.capability or "0.0").split("."))


def _prepare(device: str, precision: str, size: int, threads: int) -> PreparedProduct:
    import torch

    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes.get(precision, torch.float32)
    left, right = (torch.from_numpy(x).to(device, dtype) for x in float_operands(size))
    out = torch.empty(size, size, dtype=dtype, device=device)
    wait = synchronize(device)

    def run() -> None:
        with _fp32_precision("tf32" if precision == "tf32" else "ieee"):
            for _ in range(CALLS_PER_RUN):
                torch.mm(left, right, out=out)
            wait()

    return PreparedProduct(
        run=run,
        result=lambda: as_array(out),
        ran_in=precision,
        calls_per_run=CALLS_PER_RUN,
    )


@contextmanager
def _fp32_precision(precision: str) -> Iterator[None]:
    """Set how CUDA multiplies fp32 matrices, and set it back."""
    import torch

    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = before
