"""HEM: the six input projections, as one fused product or as six; the weights are the same."""

from itertools import chain

import torch
from torch import Tensor, nn

from mm_rec.configuration import MMRecConfig
from mm_rec.core.initialization import PRIORITY_LOGIT, starts_with
from mm_rec.core.linear import Linear

FUSED = "W_fused"
_INITIAL_BIAS = {"p": PRIORITY_LOGIT}


class InputProjections(nn.Module):
    """[q, k, v, z, p, e] = W_fused u + b; `use_hem` chooses whether one product or six compute it.

    A state dict of either form loads into either form. Without memory there are k, z and e alone.
    """

    def __init__(self, config: MMRecConfig) -> None:
        super().__init__()
        self.widths = config.projection_widths
        self.use_hem = config.use_hem
        biases = {name: [_INITIAL_BIAS.get(name, 0.0)] * n for name, n in self.widths.items()}
        if self.use_hem:
            fused = Linear(config.model_dim, sum(self.widths.values()))
            self.W_fused = starts_with(fused, bias=list(chain(*biases.values())))
        else:
            for name, width in self.widths.items():
                linear = Linear(config.model_dim, width)
                self.add_module(name, starts_with(linear, bias=biases[name]))

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Return q, k, v, z, p and e by name for the normalized input u [B, T, D]."""
        if self.use_hem:
            parts = self.W_fused(u).split(list(self.widths.values()), dim=-1)
            return dict(zip(self.widths, parts, strict=True))
        return {name: self.get_submodule(name)(u) for name in self.widths}

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Convert the stored form to this one, then load as usual."""
        convert = fuse if self.use_hem else separate
        convert(state_dict, prefix, self.widths)
        super()._load_from_state_dict(state_dict, prefix, *args)


def fuse(weights: dict[str, Tensor], prefix: str, widths: dict[str, int]) -> None:
    """Replace the six projections under `prefix` by the fused one, in place."""
    for kind in ("weight", "bias"):
        parts = [f"{prefix}{name}.{kind}" for name in widths]
        if all(part in weights for part in parts):
            weights[f"{prefix}{FUSED}.{kind}"] = torch.cat([weights.pop(part) for part in parts])


def separate(weights: dict[str, Tensor], prefix: str, widths: dict[str, int]) -> None:
    """Replace the fused projection under `prefix` by the six, in place."""
    for kind in ("weight", "bias"):
        fused = weights.pop(f"{prefix}{FUSED}.{kind}", None)
        if fused is not None:
            parts = fused.split(list(widths.values()))
            names = (f"{prefix}{name}.{kind}" for name in widths)
            weights.update(zip(names, (part.clone() for part in parts), strict=True))


@torch.no_grad()
def set_hem(model: nn.Module, use_hem: bool) -> None:
    """Switch every block of a model to one fused product or to six; outputs stay the same."""
    model.config.use_hem = use_hem  # type: ignore[union-attr]
    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, InputProjections) and child.use_hem != use_hem:
                reference = next(child.parameters())
                switched = InputProjections(model.config)  # type: ignore[arg-type]
                switched.to(reference).load_state_dict(child.state_dict())
                setattr(module, name, switched.train(child.training))
