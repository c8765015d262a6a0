"""Operators: the time, floating-point operations and bytes of every torch operator of a step.

Taken by a dispatch mode, which sees each operator with its tensors, forward and backward, and
under its own name where it comes from an extension. Watching costs time between operators, not
inside them; `anatomy` measures how much.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ivme.diagnose.lines import Line, line_of_caller
from ivme.diagnose.phases import PhaseWatch


@dataclass(kw_only=True)
class Work:
    """What the calls of one operator, or of one phase, came to."""

    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    moved_bytes: float = 0.0
    # moved bytes of a call -> calls; tells from which level of memory they come
    sizes: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float, flops: float, moved_bytes: int) -> None:
        """Count one call."""
        self.calls += 1
        self.seconds += seconds
        self.flops += flops
        self.moved_bytes += moved_bytes
        self.sizes[moved_bytes] = self.sizes.get(moved_bytes, 0) + 1


def _linear(x: Tensor, weight: Tensor, *_: Any) -> float:
    return 2.0 * x.numel() * weight.shape[0]


def _linear_cross_entropy(hidden: Tensor, weight: Tensor, _: Any, needs_gradient: bool) -> float:
    """Return the operations of the head's product, and of both its gradients in the same pass."""
    return 2.0 * hidden.numel() * weight.shape[0] * (3 if needs_gradient else 1)


def _memory(query: Tensor, *arguments: Any) -> float:
    """Return those of a write and a read of every bank for every token, as a recurrence has them.

    memory: [B, banks, heads, d, d]; query: [B, T, D].
    """
    memory = next(one for one in arguments if isinstance(one, Tensor) and one.dim() == 5)
    return 4.0 * query.shape[1] * memory.numel()


# Operators of MM-Rec's extension that hold matrix products; torch counts its own.
OWN_FORMULAS: dict[str, Callable[..., float]] = {
    "mm_rec.linear": _linear,
    "mm_rec.linear_cross_entropy": _linear_cross_entropy,
    "mm_rec.chunked_memory": _memory,
}

# Operators that do not read the tensors they write.
OVERWRITING = (
    "copy_", "zero_", "fill_", "normal_", "uniform_", "random_", "bernoulli_",
    "_foreach_copy_", "_foreach_zero_",
)  # fmt: skip
LOOKUPS = ("embedding", "_embedding_bag")  # they read the rows that are asked for, not the table
# What fused optimizers name as written: they write gradients for a gradient scaler alone.
RARELY_WRITTEN = ("grads",)


class OperatorWatch(TorchDispatchMode):
    """Times every operator while the block runs.

    operators: (phase, operator) -> Work. lines: seconds of operators outside of backward.
    """

    def __init__(self, phases: PhaseWatch) -> None:
        super().__init__()
        self.operators: dict[tuple[str, str], Work] = {}
        self.lines: dict[Line, float] = {}
        self._phases = phases

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and keep what it took."""
        kwargs = kwargs or {}
        start_s = time.perf_counter()
        output = func(*args, **kwargs)
        seconds = time.perf_counter() - start_s
        phase = self._phases.current
        key = (phase, str(func._overloadpacket).replace(".", "::", 1))
        flops = _flops(func, args, kwargs, output)
        moved = _moved_bytes(func, list(_given(func, args, kwargs)), output)
        self.operators.setdefault(key, Work()).add(seconds, flops, moved)
        if phase != "backward":  # there, `lines` has the nodes of the graph
            line = line_of_caller()
            if line is not None:
                self.lines[line] = self.lines.get(line, 0.0) + seconds
        return output


def _flops(func: Any, args: Any, kwargs: dict[str, Any], output: Any) -> float:
    """Return the operations of a matrix product; none for what only moves data."""
    own = OWN_FORMULAS.get(str(func._overloadpacket))
    if own is not None:
        return own(*args)
    formula = flop_registry.get(func._overloadpacket)
    if formula is None:
        return 0.0
    return float(formula(*args, **kwargs, out_val=output))


def _given(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each argument of a call: what the operator's schema says of it, and its value."""
    for index, argument in enumerate(func._schema.arguments):
        if index < len(args):
            yield argument, args[index]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


def _moved_bytes(func: Any, given: list[tuple[Any, Any]], output: Any) -> int:
    """Return the bytes that an operator reads and writes; none for a view.

    given: its arguments, as `_given` yields them. One that it changes is read and written, one
    that it only fills, as `out`, is written.
    """
    if _is_view(func, [value for _, value in given], output):
        return 0
    name = func._overloadpacket.__name__
    if name in LOOKUPS:
        return 2 * _distinct_bytes([output])
    written = [value for argument, value in given if _is_written(argument)]
    read = [
        value
        for argument, value in given
        if not (_is_written(argument) and (argument.kwarg_only or name in OVERWRITING))
    ]
    return _distinct_bytes(read) + _distinct_bytes([*written, output])


def _is_view(func: Any, inputs: Iterable[Any], output: Any) -> bool:
    """Return whether an operator moves nothing: its outputs are inputs, seen another way."""
    if func._schema.is_mutable:
        return torch.Tag.inplace_view in func.tags
    storages = {one.untyped_storage().data_ptr() for one in _tensors(inputs)}
    outputs = [one.untyped_storage().data_ptr() for one in _tensors([output])]
    return bool(outputs) and all(one in storages for one in outputs)


def _is_written(argument: Any) -> bool:
    alias = argument.alias_info
    return alias is not None and alias.is_write and argument.name not in RARELY_WRITTEN


def _distinct_bytes(values: Iterable[Any]) -> int:
    """Return the memory of all tensors among the values, each once."""
    return sum({one.data_ptr(): _bytes(one) for one in _tensors(values)}.values())


def _bytes(tensor: Tensor) -> int:
    """Return the memory behind a tensor; an expanded one repeats what it has."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            if value.layout == torch.strided and value.device.type != "meta":
                yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
