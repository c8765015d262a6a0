"""Products of ivme's own encoder kernels on the processor."""

from ivme.errors import RefusedError
from ivme.hardware.products.panels import in_panels
from ivme.hardware.products.product import PreparedProduct, ProductPath, integer_operands


def paths() -> tuple[ProductPath, ...]:
    """Return the one way: u8 by s8, weights in panels, no quantization around it."""
    return (
        ProductPath(
            name="ivme-int8-u8s8",
            library="ivme",
            precision="int8",
            how="fused engine's product U8S8",
            prepare=_prepare,
        ),
    )


def _prepare(size: int, threads: int) -> PreparedProduct:
    import numpy as np

    from ivme._encoder import instruction_sets, multiply

    if not instruction_sets():
        raise RefusedError("needs AVX-512 with VNNI, which this processor lacks")
    if size % 64:
        raise RefusedError(f"computes sizes that are multiples of 64, not {size}")
    left, right = integer_operands(size, "uint8")
    panels = in_panels(np.ascontiguousarray(right.T))
    out = np.empty((size, size), np.int32)
    return PreparedProduct(
        run=lambda: multiply(left, panels, out, threads),
        result=lambda: out,
        ran_in="int8",
    )
