"""Copies of a loaded model with other weights or layers; what does not change is shared with it.

The loaded model itself is never touched: its weights and modules are put into the copy as they
are, or replaced there.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ivme.engines.torch_calls import memory_errors_named

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ivme.models.loading import LoadedModel


def with_replacements(model: "LoadedModel", replacements: Mapping[int, object]) -> "LoadedModel":
    """Return the model with a network of its own, in which other objects stand.

    replacements: id of a module or tensor of the network -> what stands in its place. All other
    weights and buffers are shared with the loaded model.

    Raises:
        OutOfMemoryError: there is no memory for the copy.
    """
    network = model.model
    shared: dict[int, Any] = {id(one): one for one in (*network.parameters(), *network.buffers())}
    with memory_errors_named(model, "while it was copied"):
        copied = copy.deepcopy(network, {**shared, **replacements})
    return dataclasses.replace(model, model=copied)


def converted(model: "LoadedModel", dtype: str) -> "LoadedModel":
    """Return the model with weights of `dtype`, as if it had been loaded so.

    dtype: one of ivme.models.loading.DTYPES. The model itself where its weights are of that type.

    Raises:
        OutOfMemoryError: there is no memory for the copy.
    """
    import torch

    if model.dtype == dtype:
        return model
    target = getattr(torch, dtype)
    kept = _kept_in_float32(model.model, target)
    with memory_errors_named(model, f"while it was converted to {dtype}"):
        weights = {
            id(weight): _convert(weight, torch.float32 if _is_among(name, kept) else target)
            for name, weight in model.model.named_parameters()
            if weight.is_floating_point()
        }
    copied = with_replacements(model, weights)
    return dataclasses.replace(copied, dtype=dtype, weight_bytes=weight_bytes(copied.model))


def weight_bytes(network: "nn.Module") -> int:
    """Return the bytes that the network's parameters take, tied ones counted once."""
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


def _convert(weight: "Tensor", dtype: Any) -> "nn.Parameter":
    from torch import nn

    return nn.Parameter(weight.detach().to(dtype), requires_grad=False)


def _kept_in_float32(network: Any, dtype: Any) -> frozenset[str]:
    """Return the modules that overflow in `dtype`, as Transformers names them for this model."""
    import torch

    names = set(getattr(network, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        names |= set(getattr(network, "_keep_in_fp32_modules", None) or ())
    return frozenset() if dtype == torch.float32 else frozenset(names)


def _is_among(name: str, modules: frozenset[str]) -> bool:
    """Return whether a weight called "encoder.block.0.wo.weight" belongs to one of the modules."""
    return any(f".{module}." in f".{name}." for module in modules)
