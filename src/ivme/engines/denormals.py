"""Denormal numbers in a model: found in its weights, and in what its layers put out.

Numbers below the smallest normal one (1.2e-38 in float32) are computed by slower paths of the
processor unless it is told to treat them as zero.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ivme.engines.torch_calls import forward_inputs
from ivme.engines.traps import Trap
from ivme.hardware.threads import read_torch_threads

if TYPE_CHECKING:
    from torch import Tensor

    from ivme.models.loading import LoadedModel

LEAST_SHARE = 1e-3  # of a tensor's numbers; below that they cost nothing that can be measured
SAMPLE = 1 << 16  # numbers looked at in each tensor, at least
COST = (
    "elementwise operations on them take 2 to 3 times as long on Zen 5, and recurrences and older "
    "processors many times"
)
ACTION = (
    "Treat them as zero: torch.set_flush_denormal(True) before torch starts its threads, or set "
    "such weights to 0"
)


def denormal_weights(model: "LoadedModel") -> tuple[Trap, ...]:
    """Return the trap of weights that are denormal, naming the worst tensor."""
    if _is_harmless(model):
        return ()
    shares = {name: denormal_share(weight) for name, weight in model.model.named_parameters()}
    return _trap("denormal weights", "weights", shares)


def denormal_activations(model: "LoadedModel", texts: Sequence[str]) -> tuple[Trap, ...]:
    """Return the trap of layers whose outputs are denormal when the model reads the texts."""
    import torch

    if _is_harmless(model):
        return ()
    shares: dict[str, float] = {}
    handles = []

    def watch(name: str) -> Callable[..., None]:
        def look(module: object, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                shares[name] = max(shares.get(name, 0.0), denormal_share(output))

        return look

    network = model.model
    for name, module in network.named_modules():
        if not list(module.children()):
            handles.append(module.register_forward_hook(watch(name)))
    try:
        with torch.inference_mode():
            network(**forward_inputs(model, texts))
    finally:
        for handle in handles:
            handle.remove()
    return _trap("denormal activations", "outputs", shares)


def denormal_share(tensor: "Tensor") -> float:
    """Return the share of a tensor's numbers that are denormal, 0 to 1, from an even sample.

    float16 has none that count: its denormals are converted to normal float32 numbers at full
    speed.
    """
    import torch

    if tensor.dtype not in (torch.float32, torch.bfloat16) or not tensor.numel():
        return 0.0
    numbers = tensor.detach().flatten()
    magnitude = numbers[:: max(1, len(numbers) // SAMPLE)].abs()
    is_denormal = (magnitude < torch.finfo(torch.float32).tiny) & (magnitude > 0)
    return float(is_denormal.float().mean())


def _is_harmless(model: "LoadedModel") -> bool:
    """Return whether denormals cost nothing: on a GPU, or where torch treats them as zero."""
    return model.device != "cpu" or read_torch_threads().flushes_denormals


def _trap(name: str, what: str, shares: Mapping[str, float]) -> tuple[Trap, ...]:
    """Return the trap of the tensor with the largest share, if that is not negligible."""
    worst = max(shares, key=lambda key: shares[key], default=None)
    if worst is None or shares[worst] < LEAST_SHARE:
        return ()
    others = sum(share >= LEAST_SHARE for share in shares.values()) - 1
    more = f", and {others} more layers have some" if others else ""
    return (
        Trap(
            name=name,
            found=f"{shares[worst]:.0%} of the {what} of {worst} are denormal{more}",
            cost=COST,
            action=ACTION,
        ),
    )
