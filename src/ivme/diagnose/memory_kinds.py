"""Memory by kind: weights, gradients, optimizer state, and what is kept for backward."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ivme.diagnose.training_step import TrainingStep


def measure_kinds(step: TrainingStep) -> dict[str, Any]:
    """Return the bytes of each kind of tensor in one step.

    Gradients are counted when the optimizer begins, when all of them are there. Activations are
    the tensors that autograd keeps for backward, each memory once, weights left out.
    """
    seen: dict[str, Any] = {"gradients": 0, "optimizers": []}
    kept: dict[int, int] = {}

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        seen["optimizers"].append(optimizer)
        seen["gradients"] += sum(map(_bytes, _gradients(optimizer)))

    def pack(tensor: Tensor) -> Tensor:
        kept[_address(tensor)] = max(kept.get(_address(tensor), 0), _storage_bytes(tensor))
        return tensor

    with ExitStack() as after:
        after.callback(register_optimizer_step_pre_hook(before).remove)
        after.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one))
        step.run()
    optimizers = list({id(one): one for one in seen["optimizers"]}.values())
    weights = _weights(step, optimizers)
    for one in weights:
        kept.pop(_address(one), None)
    state = [one for each in optimizers for one in _state(each)]
    return {
        "weights": sum(map(_bytes, weights)),
        "parameters": sum(one.numel() for one in weights if isinstance(one, torch.nn.Parameter)),
        "gradients": seen["gradients"],
        "optimizer_state": sum(map(_bytes, state)),
        "activations": sum(kept.values()),
    }


def _weights(step: TrainingStep, optimizers: Iterable[Optimizer]) -> list[Tensor]:
    """Return parameters and buffers of the model, or what the optimizers change."""
    if step.model is not None:
        found: list[Tensor] = [*step.model.parameters(), *step.model.buffers()]
    else:
        found = [one for each in optimizers for one in _parameters(each)]
    return list({_address(one): one for one in found}.values())


def _parameters(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _gradients(optimizer: Optimizer) -> Iterator[Tensor]:
    return (one.grad for one in _parameters(optimizer) if one.grad is not None)


def _state(optimizer: Optimizer) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        values = state.values() if isinstance(state, Mapping) else ()
        yield from (one for one in values if isinstance(one, Tensor))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage_bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
