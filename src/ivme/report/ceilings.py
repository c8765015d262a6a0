"""Ceilings of a record's machine: the rates that figures are put next to."""

from collections.abc import Mapping, Sequence
from typing import Any

_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def rates(machine: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    """Return the measured rates of a kind, "products" or "copies"; none if none were measured."""
    return (machine.get("ceilings") or {}).get(kind) or ()


def product_ceiling(machine: Mapping[str, Any], configuration: Mapping[str, Any]) -> float | None:
    """Return the operations a second of this machine in a configuration's precision.

    None unless the ceiling was measured on the same device and with as many threads: a share of
    another machine's ceiling would say nothing.
    """
    dtype = str(configuration.get("dtype")).removeprefix("torch.")
    precision = _PRECISIONS.get(dtype, dtype)
    device = str(configuration.get("device")).split(":")[0]
    found = [
        rate["operations_per_s"]
        for rate in rates(machine, "products")
        if rate.get("precision") == precision
        and rate.get("device") == device
        and rate.get("threads") in (None, configuration.get("threads"))
        and rate.get("operations_per_s")
    ]
    return max(found, default=None)
