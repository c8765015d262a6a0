"""Running an op without torch's dispatcher where nothing watches it.

The Python side of a registered op costs some 60 us forward and backward, as much as a small
kernel. Outside of compiling, tracing and transforms, a plain autograd function does the same work
in a third of that.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

_PLAIN = (Tensor, torch.nn.Parameter)


def directly(op: CustomOpDef, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `run`, what the op runs, where no gradient is recorded."""

    def call(*args: Any) -> Any:
        if torch.is_grad_enabled() or is_watched(args):
            return op(*args)
        return run(*args)

    return call


def with_gradient(
    op: CustomOpDef,
    run: Callable[..., Any],
    save: Callable[..., None],
    gradients: Callable[..., Any],
) -> Callable[..., Any]:
    """Register the gradient of an op, and return a function that calls the op or `run` itself."""
    op.register_autograd(gradients, setup_context=save)

    class Direct(torch.autograd.Function):
        forward = staticmethod(run)
        setup_context = staticmethod(save)
        backward = staticmethod(gradients)

    def call(*args: Any) -> Any:
        if is_watched(args):
            return op(*args)
        return Direct.apply(*args) if torch.is_grad_enabled() else run(*args)

    return call


def is_watched(args: tuple) -> bool:
    """Return whether compiling, a transform, a mode or a tensor subclass must see the op itself."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or any(isinstance(arg, Tensor) and type(arg) not in _PLAIN for arg in args)
    )
