"""Limits: the least time that the work of a step takes on this machine, and how far off it is.

An operator's least time is the longer of two: its floating-point operations at the measured rate
of matrix products, and its bytes at the measured bandwidth of copies in the level of memory that
they fit into.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ivme.hardware.ceilings import Ceilings

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
LEVELS = ("L2", "L3", "memory")  # nearest first
MOST_OPERATORS = 15


def apply_limits(
    operators: Sequence[Mapping[str, Any]],
    phase_s: Mapping[str, float],
    ceilings: Ceilings,
    dtype: str,
) -> dict[str, Any]:
    """Return the least seconds of each operator and phase, and the ceilings they follow from.

    operators: rows of `anatomy.measure_operators`; phase_s: median seconds of each phase.
    """
    product = ceilings.best_product(PRECISIONS[dtype], "cpu", library="torch")
    rate = product.operations_per_s if product else None
    copies = {level: ceilings.copy(level) for level in LEVELS}
    bandwidths = {
        level: (one.working_set_bytes, one.bytes_per_s)
        for level, one in copies.items()
        if one is not None and one.bytes_per_s
    }
    rows = [{**row, **_least(row, rate, bandwidths)} for row in operators]
    rows.sort(key=lambda row: -row["seconds"])
    return {
        "product_flop_per_s": rate,
        "product_path": product.path if product else None,
        "copy_bytes_per_s": {level: one[1] for level, one in bandwidths.items()},
        "is_confirmed": ceilings.is_confirmed,
        "operators": [_without_sizes(row) for row in rows[:MOST_OPERATORS]],
        "operator_count": len(rows),
        "operators_s": sum(row["seconds"] for row in rows),
        "flops": sum(row["flops"] for row in rows),
        "moved_bytes": sum(row["moved_bytes"] for row in rows),
        "phases": {
            name: _phase(name, seconds, rows) for name, seconds in phase_s.items() if seconds > 0
        },
    }


def _least(
    row: Mapping[str, Any], rate: float | None, bandwidths: Mapping[str, tuple[int, float]]
) -> dict[str, Any]:
    """Return the least seconds of an operator, and which of the two limits sets them."""
    products_s = row["flops"] / rate if rate else 0.0
    copies_s = sum(
        int(size) * calls / _bandwidth(int(size), bandwidths)
        for size, calls in row["sizes"].items()
        if bandwidths
    )
    return {
        "least_s": max(products_s, copies_s),
        "bound": "products" if products_s > copies_s else "copies",
    }


def _bandwidth(size: int, bandwidths: Mapping[str, tuple[int, float]]) -> float:
    for level in LEVELS:
        if level in bandwidths and (size <= bandwidths[level][0] or level == LEVELS[-1]):
            return bandwidths[level][1]
    return max(one[1] for one in bandwidths.values())


def _phase(name: str, seconds: float, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    own = [row for row in rows if row["phase"] == name]
    return {
        "seconds": seconds,
        "least_s": sum(row["least_s"] for row in own),
        "flops": sum(row["flops"] for row in own),
        "moved_bytes": sum(row["moved_bytes"] for row in own),
    }


def _without_sizes(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "sizes"}
