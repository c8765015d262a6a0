"""Choosing tokens over arrays: greedily, exactly as many as asked for, or as a text has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.engines.streaming import hear

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
            chosen = np.full((len(logits), 1), self.forced_first_id, dtype=np.int64)
        else:
            logits[:, list(self.end_ids)] = -np.inf
            chosen = logits.argmax(axis=1, keepdims=True).astype(np.int64, copy=False)
        hear(chosen)
        return chosen


@dataclass(kw_only=True)
class Forced:
    """Chooses the tokens that a text has, and adds up how likely each was."""

    targets: "np.ndarray"  # [N] token ids
    log_likelihood: float = 0.0  # of all so far, in nats
    _position: int = 0

    def choose(self, logits: "np.ndarray", *, is_first: bool) -> "np.ndarray":
        """Return the text's next token [1, 1], int64; logits: [1, vocabulary]."""
        import numpy as np

        row = logits[0].astype(np.float64)
        row -= row.max()
        target = self.targets[self._position]
        self.log_likelihood += float(row[target] - np.log(np.exp(row).sum()))
        self._position += 1
        return np.full((1, 1), target, dtype=np.int64)


def split_targets(tokens: "np.ndarray", new_tokens: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return the prompt [1, T - N] and the N targets of one text's tokens [1, T]."""
    count = min(new_tokens, tokens.shape[1] - 1)
    cut = tokens.shape[1] - count
    return tokens[:, :cut], tokens[0, cut:]
