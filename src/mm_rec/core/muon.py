"""Muon: the momentum of a matrix is made orthogonal before it is applied; AdamW does the rest.

After K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). The
singular values of each update are pushed towards one by a Newton-Schulz iteration, so that every
direction of a linear map learns at the same pace, the rare ones too.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mm_rec.core.cpu_amp import has_bfloat16, processor_flags
from mm_rec.core.projections import InputProjections
from mm_rec.core.quantization import stored_weight
from mm_rec.core.recurrence import ShortTermRecurrence
from mm_rec.errors import ConfigError

MOMENTUM = 0.95
ITERATIONS = 5
# Of x -> a x + b x^3 + c x^5 on each singular value: steep at zero, near one after five rounds.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# J. Liu et al., "Muon is scalable for LLM training" (2025): times the root of the longer side, the
# update of an entry is as large as AdamW's, and one learning rate serves both.
SCALE = 0.2
# How the names of maps end: as they are, and prepared for int8.
WEIGHTS = (".weight", ".weight.original")


@dataclass(frozen=True)
class _Piece:
    """A part of a weight that is one linear map: some rows or some columns of it, or all."""

    weight: nn.Parameter
    rows: slice
    columns: slice

    def of(self, matrix: Tensor) -> Tensor:
        """Return this part of a matrix shaped as the weight."""
        return matrix[self.rows, self.columns]


class Muon(Optimizer):
    """Updates the linear maps inside the blocks of a model by Muon, all else by AdamW.

    Embedding, head, biases and norms are AdamW's. Maps that are fused into one weight are made
    orthogonal one by one, so a model learns the same with fused projections as with separate ones.

    Args:
        model: An MM-Rec model, wrapped or not; its weights are whole, not spread over processes.
        adamw_groups: What AdamW would be given for the whole model, with its weight decay.
        lr: Learning rate of both.
        betas: Of AdamW.

    Raises ConfigError for a model without such maps.
    """

    def __init__(
        self,
        model: nn.Module,
        adamw_groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
    ) -> None:
        pieces = list(_pieces(model))
        if not pieces:
            raise ConfigError("Muon: expected a model with linear maps in its layers; use AdamW.")
        maps = {id(piece.weight) for piece in pieces}
        groups = [_divided(group, maps, inside=True) for group in adamw_groups]
        rest = [_divided(group, maps, inside=False) for group in adamw_groups]
        self._adamw = torch.optim.AdamW(
            [one for one in rest if one["params"]], lr=lr, betas=betas, fused=True
        )
        own = [one for one in groups if one["params"]]
        super().__init__([*own, *self._adamw.param_groups], {"lr": lr})
        self._map_groups = len(own)
        self._by_shape: dict[tuple[int, int], list[_Piece]] = {}
        for piece in pieces:
            rows, columns = piece.of(piece.weight).shape
            shape = (min(rows, columns), max(rows, columns))
            self._by_shape.setdefault(shape, []).append(piece)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change all weights that have gradients; closure: not supported, as there is no need."""
        assert closure is None
        maps = self._maps
        # Anew in each step: load_state_dict puts others in their place.
        self._adamw.state, self._adamw.param_groups = self.state, self.param_groups[len(maps) :]
        self._adamw.step()
        for group in maps:
            weights = [one for one in group["params"] if one.grad is not None]
            if weights:
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        momenta = self._momenta()
        for (_, longer), pieces in self._by_shape.items():
            present = [one for one in pieces if id(one.weight) in momenta]
            if present:
                parts = [one.of(momenta[id(one.weight)]) for one in present]
                scale = SCALE * math.sqrt(longer)
                for piece, update in zip(present, _orthogonal(parts), strict=True):
                    rate = maps[0]["lr"] * scale
                    piece.of(piece.weight).add_(update, alpha=-rate)

    @property
    def _maps(self) -> list[dict[str, Any]]:
        """The groups of the linear maps."""
        return self.param_groups[: self._map_groups]

    def _momenta(self) -> dict[int, Tensor]:
        """Return Nesterov's momentum by the id of its weight, with this step's gradients in it."""
        weights = [one for group in self._maps for one in group["params"] if one.grad is not None]
        for weight in weights:
            if "momentum" not in self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        if not weights:
            return {}
        gradients = [weight.grad for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)
        return {id(weight): one for weight, one in zip(weights, ahead, strict=True)}


def _orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Return each matrix with its singular values near one; all have the same two side lengths."""
    a, b, c = COEFFICIENTS
    turned = [one.T if one.shape[0] > one.shape[1] else one for one in matrices]
    x = torch.stack(turned).to(_product_dtype(matrices[0].device))
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    updates = x.to(matrices[0].dtype).unbind()
    return [
        update.T if matrix.shape[0] > matrix.shape[1] else update
        for update, matrix in zip(updates, matrices, strict=True)
    ]


def _product_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where it is fast: the iteration mends its own rounding."""
    is_fast = device.type == "cuda" or has_bfloat16(processor_flags())
    return torch.bfloat16 if is_fast else torch.float32


def _pieces(model: nn.Module) -> Iterator[_Piece]:
    """Yield every linear map inside the blocks of the model."""
    whole = slice(None)
    fused: dict[int, list[tuple[slice, slice]]] = {}
    for module in model.modules():
        if isinstance(module, InputProjections) and module.use_hem:
            parts = _slices(list(module.widths.values()))
            fused[id(stored_weight(module.W_fused))] = [(one, whole) for one in parts]
        elif isinstance(module, ShortTermRecurrence):
            parts = _slices([module.W_m.out_features] * 2)
            fused[id(stored_weight(module.W_m))] = [(whole, one) for one in parts]
    for name, weight in model.named_parameters():
        if ".layers." in f".{name}" and weight.ndim == 2 and name.endswith(WEIGHTS):
            for rows, columns in fused.get(id(weight), [(whole, whole)]):
                yield _Piece(weight, rows, columns)


def _slices(widths: list[int]) -> list[slice]:
    ends = torch.tensor(widths).cumsum(0).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


def _divided(group: dict[str, Any], maps: set[int], *, inside: bool) -> dict[str, Any]:
    """Return the part of a group whose parameters are among the maps, or that of the others."""
    return {**group, "params": [one for one in group["params"] if (id(one) in maps) == inside]}
