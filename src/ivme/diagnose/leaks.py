"""Leaks: memory that grows with every step, and what it is that is kept."""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor

from ivme.measure.memory import release_free_memory, resident_bytes

LEAST_BYTES = 16_384  # a step; less is what allocators and logs do
GROWING_SHARE = 0.75  # of the steps; a leak grows nearly always, a cache only at first
NAMED_STEPS = 3  # in a row in which what is named must grow; fewer where steps are few
FEWEST_SIZES = 6  # steps after which the size of the process alone may tell of a leak

Shape = tuple[tuple[int, ...], str, bool]  # shape, dtype, whether it holds a graph


def find_leak(run: Callable[[], object], steps: int) -> dict[str, Any] | None:
    """Return what grows while so many steps run, None if nothing does.

    The answer holds the bytes a step, and in words what is kept, as far as that can be found.
    Fewer steps than FEWEST_SIZES find what Python and torch can count alone.
    """
    gc.collect()
    gc.freeze()  # what is there already is of no interest, and slow to go through
    try:
        return _find_leak(run, steps)
    finally:
        gc.unfreeze()


def _named_steps(steps: int) -> int:
    return min(NAMED_STEPS, max(2, steps - 1))


def _find_leak(run: Callable[[], object], steps: int) -> dict[str, Any] | None:
    """Ask the exact counts first: the process also grows and shrinks for reasons of its own."""
    sizes: list[int] = []
    counts: list[Counter[Shape]] = []
    for _ in range(steps + 1):
        run()
        counts = [*counts[-_named_steps(steps) :], _census()]
        release_free_memory()
        sizes.append(resident_bytes())
    growth = [after - before for before, after in pairwise(sizes)]
    growing = sum(one > 0 for one in growth) / len(growth)
    typical_bytes = (sizes[-1] - sizes[len(sizes) // 3]) / (len(sizes) - 1 - len(sizes) // 3)
    tensors = _tensor_growth(counts)
    if tensors:
        return {"bytes_per_step": max(typical_bytes, 0.0), "kept": tensors}
    python = _python_growth(run, _named_steps(steps))
    if python:
        return python
    if steps < FEWEST_SIZES or growing < GROWING_SHARE or typical_bytes < LEAST_BYTES:
        return None
    kept = "memory outside of Python and of its tensors"
    return {"bytes_per_step": typical_bytes, "kept": kept}


def _tensor_growth(counts: Sequence[Counter[Shape]]) -> str | None:
    """Return which tensors there are more of after each step, None if none."""
    growing = [
        key
        for key in counts[-1]
        if all(after[key] > before[key] for before, after in pairwise(counts))
    ]
    if not growing:
        return None
    largest = max(growing, key=_bytes_of)
    shape, dtype, has_graph = largest
    more = (counts[-1][largest] - counts[0][largest]) / (len(counts) - 1)
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


def _python_growth(run: Callable[[], object], steps: int) -> dict[str, Any] | None:
    """Return the line whose memory grows after each step, and by how much, None if there is none.

    Of several the one that grows most.
    """
    tracemalloc.start()
    try:
        run()
        counts = [_bytes_by_line()]
        for _ in range(steps):
            run()
            counts.append(_bytes_by_line())
    finally:
        tracemalloc.stop()
    growth = {
        line: (counts[-1][line] - counts[0][line]) / steps
        for line in counts[-1]
        if all(after[line] - before[line] >= LEAST_BYTES for before, after in pairwise(counts))
    }
    if not growth:
        return None
    path, number = line = max(growth, key=lambda one: growth[one])
    return {
        "bytes_per_step": growth[line],
        "kept": f"memory that {path}, line {number}, allocates",
    }


def _bytes_by_line() -> Counter[tuple[str, int]]:
    gc.collect()
    statistics = tracemalloc.take_snapshot().statistics("lineno")
    return Counter(
        {(one.traceback[0].filename, one.traceback[0].lineno): one.size for one in statistics}
    )
