"""The fused decoding step inside the model's forward: when it may run, and on which weights.

Owns the way from a model to what `mm_rec.ops.decode` takes, and back to the model's own state.
"""

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mm_rec.configuration import MMRecConfig
from mm_rec.core.projections import FUSED
from mm_rec.core.state import LayerState, MMRecState, check_state
from mm_rec.ops.decode.weights import DecodeState, DecodeWeights

# Texts up to which a step of the kernel beats the products of the library: above, they reuse each
# weight better.
MOST_TEXTS = 16

# Where a block keeps what the decoding ops call by a shorter name; W_m's weight is in two halves.
_PATHS = {
    "gamma_down": "recurrence.W_gamma.down",
    "gamma_up": "recurrence.W_gamma.up",
    "context_down": "recurrence.W_context.down",
    "context_up": "recurrence.W_context.up",
    "input_gate": "recurrence.W_g",
    "mdi_input": "recurrence.W_m",
    "query": "memory_attention.W_q",
    "output": "W_o",
    "ffn_up": "ffn.0",
    "ffn_down": "ffn.2",
}

# The weights of each model as they were when last looked at, and where they lay.
_Known = tuple[tuple[int, ...], DecodeWeights | None]
_known: "weakref.WeakKeyDictionary[nn.Module, _Known]" = weakref.WeakKeyDictionary()


def decode_weights(model: nn.Module) -> DecodeWeights:
    """Return the weights of a language model by the names that the ops use; nothing is copied."""
    config: MMRecConfig = model.config  # type: ignore[assignment]
    own = {name: tensor.detach() for name, tensor in model.named_parameters()}
    return DecodeWeights(
        embedding=own["model.embeddings.weight"],
        norm=own["model.norm.weight"],
        layers=tuple(
            _layer_weights(_under(f"model.layers.{index}.", own), config)
            for index in range(config.num_layers)
        ),
        num_heads=config.num_heads,
        time_scales=tuple(config.memory_time_scales or ()),
        norm_eps=config.norm_eps,
        is_exact=config.recurrence == "exact",
        input_scale=config.input_scale,
    )


def usable_weights(model: nn.Module) -> DecodeWeights | None:
    """Return the weights for the compiled step, or None where the modules must run themselves.

    They must where gradients, autocast, tracing or compiling are on, where a module has hooks or
    dropout, and where a weight is not plain fp32 on the CPU. Weights that were replaced since the
    last call are found by their address.
    """
    if (
        torch.is_grad_enabled()
        or model.training
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    addresses = []
    for module in _modules(model):
        if module._forward_hooks or module._forward_pre_hooks:
            return None
        addresses += [p.data_ptr() for p in module._parameters.values() if p is not None]
    known = _known.get(model)
    if known is None or known[0] != tuple(addresses):
        known = _known[model] = (tuple(addresses), _plain_weights(model))
    return known[1]


def fused_step(
    model: nn.Module, weights: DecodeWeights, ids: Tensor, state: MMRecState | None
) -> tuple[Tensor, MMRecState]:
    """Return the logits [B, V] after one token of each text, ids [B], and the new state.

    Raises ShapeError for a state of another model or batch.
    """
    from mm_rec.ops.decode.cpu import decode_step

    config: MMRecConfig = model.config  # type: ignore[assignment]
    if state is None:
        state = MMRecState.initial(config, len(ids))
    else:
        check_state(state, config, len(ids))
    stacked = stack_state(state)
    logits = decode_step(weights, ids.to(torch.int64).contiguous(), stacked)
    return logits, unstack_state(stacked)


def stack_state(state: MMRecState) -> DecodeState:
    """Return a copy of the states of all layers, one tensor for each kind."""
    return DecodeState(*map(torch.stack, zip(*state.layers, strict=True)))


def unstack_state(state: DecodeState) -> MMRecState:
    """Return the state of each layer, as views."""
    layers = zip(*(tensor.unbind() for tensor in state), strict=True)
    return MMRecState(tuple(LayerState(*layer) for layer in layers))


def _modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the model and all inside it; a fifth of the time of nn.Module.modules()."""
    waiting = [model]
    while waiting:
        module = waiting.pop()
        yield module
        waiting += [inner for inner in module._modules.values() if inner is not None]


def _plain_weights(model: nn.Module) -> DecodeWeights | None:
    """Return the weights, or None where one is missing or is not plain fp32 on the CPU."""
    plain = (nn.Parameter, Tensor)
    for weight in model.parameters():
        if (
            type(weight) not in plain
            or weight.dtype != torch.float32
            or weight.device.type != "cpu"
        ):
            return None
    try:
        return decode_weights(model)
    except KeyError:  # a module was replaced, by a quantized one for example
        return None


def _layer_weights(own: dict[str, Tensor], config: MMRecConfig) -> dict[str, Tensor]:
    """Return the weights of one block by name, from its parameters."""
    weights = {"norm1": own["norm1.weight"], "norm2": own["norm2.weight"]}
    paths = _PATHS if config.num_memories else {k: v for k, v in _PATHS.items() if k != "query"}
    for kind in ("weight", "bias"):
        for name, tensor in _projections(own, config, kind).items():
            weights[f"{name}.{kind}"] = tensor
        for name, path in paths.items():
            weights[f"{name}.{kind}"] = own[f"{path}.{kind}"]
    see_input, see_state = own["recurrence.W_m.weight"].split(config.model_dim, dim=1)
    weights |= {"mdi_input.weight": see_input, "mdi_state.weight": see_state}
    if config.num_memories > 1:
        weights["bank_weights"] = own["memory_attention.bank_weights"]
    return weights


def _projections(own: dict[str, Tensor], config: MMRecConfig, kind: str) -> dict[str, Tensor]:
    """Return the input projections by name: rows of the fused product, or matrices of their own."""
    widths = config.projection_widths
    fused = own.get(f"hem.{FUSED}.{kind}")
    if fused is None:
        return {name: own[f"hem.{name}.{kind}"] for name in widths}
    return dict(zip(widths, fused.split(list(widths.values())), strict=True))


def _under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
