"""Leaks: memory that grows with every step, and what it is that is kept."""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor

from ivme.measure.memory import release_free_memory, resident_bytes

LEAST_BYTES = 16_384  # a step; less is what allocators and logs do
GROWING_SHARE = 0.75  # of the steps; a leak grows nearly always, a cache only at first
NAMED_STEPS = 3

Shape = tuple[tuple[int, ...], str, bool]  # shape, dtype, whether it holds a graph


def find_leak(run: Callable[[], object], steps: int) -> dict[str, Any] | None:
    """Return what grows while so many steps run, None if nothing does.

    The answer holds the bytes a step, and in words what is kept, as far as that can be found.
    """
    gc.collect()
    gc.freeze()  # what is there already is of no interest, and slow to go through
    try:
        return _find_leak(run, steps)
    finally:
        gc.unfreeze()


def _find_leak(run: Callable[[], object], steps: int) -> dict[str, Any] | None:
    sizes = [_size_after(run) for _ in range(steps + 1)]
    growth = [after - before for before, after in pairwise(sizes)]
    growing = sum(one > 0 for one in growth) / len(growth)
    typical_bytes = (sizes[-1] - sizes[len(sizes) // 3]) / (len(sizes) - 1 - len(sizes) // 3)
    tensors = _tensor_growth(run)
    if tensors:
        return {"bytes_per_step": max(typical_bytes, 0.0), "kept": tensors}
    if growing < GROWING_SHARE or typical_bytes < LEAST_BYTES:
        return None
    return {"bytes_per_step": typical_bytes, "kept": _python_growth(run)}


def _size_after(run: Callable[[], object]) -> int:
    run()
    release_free_memory()
    return resident_bytes()


def _tensor_growth(run: Callable[[], object]) -> str | None:
    """Return which tensors there are more of after each step, None if none."""
    counts = [_census()]
    for _ in range(NAMED_STEPS):
        run()
        counts.append(_census())
    growing = [
        key
        for key in counts[-1]
        if all(after[key] > before[key] for before, after in pairwise(counts))
    ]
    if not growing:
        return None
    largest = max(growing, key=_bytes_of)
    shape, dtype, has_graph = largest
    more = (counts[-1][largest] - counts[0][largest]) / NAMED_STEPS
    text = f"{more:g} more of the tensors {list(shape)} {dtype} after each step"
    holder = _holder_of(largest)
    if holder:
        text += f", held by {holder}"
    if has_graph:
        text += "; they hold the graph they were computed by: keep loss.item() or loss.detach()"
    return text


def _census() -> Counter[Shape]:
    gc.collect()
    return Counter(_shape_of(one) for one in gc.get_objects() if _is_tensor(one))


def _is_tensor(value: Any) -> bool:
    return issubclass(type(value), Tensor)


def _shape_of(tensor: Tensor) -> Shape:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return tuple(tensor.shape), dtype, tensor.grad_fn is not None


def _bytes_of(key: Shape) -> int:
    return torch.Size(key[0]).numel()


def _holder_of(key: Shape) -> str | None:
    """Return the container of the newest tensor of a shape, by name where it has one."""
    found = [one for one in gc.get_objects() if _is_tensor(one) and _shape_of(one) == key]
    gc.unfreeze()  # what holds it may have been there before
    for container in gc.get_referrers(found[-1]) if found else ():
        if isinstance(container, list) and container is not found:
            return f"the list {_name_of(container)}".strip()
        if isinstance(container, dict) and "__name__" not in container:
            return f"the dict {_name_of(container)}".strip()
    return None


def _name_of(container: Any) -> str:
    """Return the name of a container in a module or an object, "" if it is found in none."""
    for owner in gc.get_referrers(container):
        if not isinstance(owner, dict):
            continue
        for name, value in owner.items():
            if value is container and isinstance(name, str):
                return repr(name)
    return _closure_name(container)


def _closure_name(container: Any) -> str:
    """Return the name by which a function holds a container of the function around it."""
    for function in gc.get_objects():
        if type(function) is not FunctionType or function.__closure__ is None:
            continue  # isinstance would wake what libraries load lazily
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            if _content(cell) is container:
                return f"{name!r} of {function.__qualname__}()"
    return ""


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _python_growth(run: Callable[[], object]) -> str:
    """Return the line that allocates most of what is kept after a few steps."""
    tracemalloc.start()
    try:
        run()
        before = tracemalloc.take_snapshot()
        for _ in range(NAMED_STEPS):
            run()
        grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
    finally:
        tracemalloc.stop()
    top = max(grown, key=lambda one: one.size_diff, default=None)
    if top is None or top.size_diff < LEAST_BYTES:
        return "memory outside of Python and of its tensors"
    frame = top.traceback[0]
    return f"memory that {frame.filename}, line {frame.lineno}, allocates"
