"""Pooling: how an embedding model's token vectors become one vector for the text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.errors import UsageError

if TYPE_CHECKING:
    import torch

MODES = {  # what Sentence Transformers calls them
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How token vectors become one: mode "mean", "first" or "last", then unit length or not."""

    mode: str = "mean"
    is_normalized: bool = False

    def apply(self, hidden: "torch.Tensor", attention_mask: "torch.Tensor") -> "torch.Tensor":
        """Return [B, D] in float32 from hidden [B, T, D] and mask [B, T], 1 for real tokens."""
        import torch

        hidden = hidden.float()
        rows = torch.arange(hidden.shape[0], device=hidden.device)  # len() is fixed by tracing
        first = attention_mask.argmax(dim=1)
        if self.mode == "first":
            vectors = hidden[rows, first]
        elif self.mode == "last":
            vectors = hidden[rows, first + attention_mask.sum(dim=1) - 1]
        else:
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(vectors, dim=-1) if self.is_normalized else vectors


def read_pooling(folder: Path, reference: str) -> Pooling:
    """Return the pooling that the folder's modules.json asks for; the mean where it has none.

    Raises:
        UsageError: it asks for a step that is not done here.
    """
    modules = folder / "modules.json"
    if not modules.is_file():
        return Pooling()
    mode, is_normalized = "mean", False
    for module in json.loads(modules.read_text(encoding="utf-8")):
        step = module["type"].rsplit(".", 1)[-1]
        if step == "Pooling":
            mode = _mode(folder / module["path"] / "config.json", reference)
        elif step == "Normalize":
            is_normalized = True
        elif step != "Transformer":
            raise UsageError(
                f"model {reference!r} ends in a {step} step, which is not done here; expected "
                "Transformer, Pooling and Normalize alone"
            )
    return Pooling(mode=mode, is_normalized=is_normalized)


def _mode(config: Path, reference: str) -> str:
    settings = json.loads(config.read_text(encoding="utf-8"))
    chosen = [name for name, value in settings.items() if value is True and name in MODES]
    asked = [name for name, value in settings.items() if value is True and "pooling_mode" in name]
    if len(chosen) != 1 or asked != chosen:
        raise UsageError(
            f"model {reference!r} pools by {', '.join(asked) or 'nothing'}; expected one of "
            f"{', '.join(MODES)}"
        )
    return MODES[chosen[0]]
