"""Greedy decoding over arrays: the next token of each text, exactly as many as were asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """What decides a text's tokens besides its logits; as `generate` does with a fixed length."""

    start_id: int | None  # that a decoder's text begins with
    end_ids: tuple[int, ...]  # never chosen: a text has as many tokens as were asked for
    forced_first_id: int | None  # of some translation models: the language to write in

    @classmethod
    def of(cls, generation: Mapping[str, Any]) -> "Greedy":
        """Return the rules of a ModelInterface's `generation`."""
        ends = generation.get("eos_token_id")
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        return cls(
            start_id=generation.get("decoder_start_token_id"),
            end_ids=tuple(ends),
            forced_first_id=generation.get("forced_bos_token_id"),
        )

    def choose(self, logits: "np.ndarray", *, is_first: bool) -> "np.ndarray":
        """Return the next token ids [B, 1], int64, from logits [B, vocabulary], changing them."""
        import numpy as np

        if is_first and self.forced_first_id is not None:
            return np.full((len(logits), 1), self.forced_first_id, dtype=np.int64)
        logits[:, list(self.end_ids)] = -np.inf
        return logits.argmax(axis=1, keepdims=True).astype(np.int64, copy=False)
