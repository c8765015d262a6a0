"""Products through torch on the processor."""

from collections.abc import Callable
from functools import partial

from ivme.errors import RefusedError
from ivme.hardware.products.product import (
    PreparedProduct,
    ProductPath,
    as_array,
    float_operands,
    integer_operands,
)


def paths() -> tuple[ProductPath, ...]:
    """Return torch's ways: plain, with weights packed by oneDNN, and int8."""
    plain = [
        ProductPath(
            name=f"torch-{precision}",
            library="torch",
            precision=precision,
            how="torch.mm",
            prepare=partial(_prepare_mm, precision),
        )
        for precision in ("fp32", "bf16")
    ]
    packed = [
        ProductPath(
            name=f"torch-packed-{precision}",
            library="torch",
            precision=precision,
            how="oneDNN, packed weights",
            prepare=partial(_prepare_packed, precision),
        )
        for precision in ("fp32", "bf16")
    ]
    int8 = ProductPath(
        name="torch-int8",
        library="torch",
        precision="int8",
        how="torch._int_mm",
        prepare=_prepare_int8,
    )
    return (*plain, *packed, int8)


def _prepare_mm(precision: str, size: int, threads: int) -> PreparedProduct:
    """Prepare torch.mm; its threads are those of the process, see threads.py."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.from_numpy(x).to(dtype) for x in float_operands(size))
    out = torch.empty(size, size, dtype=dtype)

    def run() -> None:
        torch.mm(left, right, out=out)

    return PreparedProduct(run=run, result=lambda: as_array(out), ran_in=precision)


def _prepare_packed(precision: str, size: int, threads: int) -> PreparedProduct:
    """Prepare the linear layer that a frozen, compiled model calls."""
    import torch

    if not torch.backends.mkldnn.is_available():
        raise RefusedError(f"torch {torch.__version__} is built without oneDNN")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.from_numpy(x).to(dtype) for x in float_operands(size))
    reorder, linear = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise
    weight = reorder(right.t().contiguous(), size)
    return _keeping_result(lambda: linear(left, weight, None, "none", [], ""), precision)


def _prepare_int8(size: int, threads: int) -> PreparedProduct:
    """Prepare torch._int_mm with weights stored [out, in], as a linear layer stores them."""
    import torch

    left_array, right_array = integer_operands(size)
    left, right = torch.from_numpy(left_array), torch.from_numpy(right_array.T.copy()).t()
    return _keeping_result(lambda: torch._int_mm(left, right), "int8")


def _keeping_result(multiply: Callable[[], object], precision: str) -> PreparedProduct:
    last: list[object] = [None]

    def run() -> None:
        last[0] = multiply()

    return PreparedProduct(run=run, result=lambda: as_array(last[0]), ran_in=precision)
