"""Batches that a transformer is trained on: parts of texts, of like length, some tokens hidden.

A text is given whole in every other pass, and else as a window of it: what a network learns from
windows holds for texts of any length, and for texts that begin and end anywhere.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.ensemble.groups import readable_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

WHOLE_SHARE = 0.5  # of the texts that are given whole
LEAST_PART = 0.3  # of a text that a window holds
LEAST_WORDS = 25  # in a window; shorter texts are given whole
LENGTH_NOISE = 0.2  # by which lengths are off when batches are put together


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """Makes the batches of a pass over the texts; the same seed and epoch make the same ones.

    numbers: of the label of each text. max_length: tokens. masked_share: of tokens to hide.
    """

    tokenizer: "PreTrainedTokenizerBase"
    texts: Sequence[str]
    numbers: Sequence[int]
    batch_size: int
    max_length: int
    masked_share: float
    seed: int

    @property
    def per_epoch(self) -> int:
        """The batches in a pass."""
        return -(-len(self.texts) // self.batch_size)

    def training(self, epoch: int) -> Iterator[dict[str, Any]]:
        """Return the batches of one pass: windows of the texts, in random order."""
        chance = random.Random(f"{self.seed}-{epoch}")
        rows = [
            (window_of(text, chance), number)
            for text, number in zip(self.texts, self.numbers, strict=True)
        ]
        for batch in self._cut(rows, chance):
            encoded = self._encode(batch)
            if self.masked_share and self.tokenizer.mask_token_id is not None:
                self._hide_tokens(encoded["input_ids"], chance)
            yield encoded

    def whole(self) -> Iterator[dict[str, Any]]:
        """Return batches of the texts as they are."""
        for batch in self._cut(list(zip(self.texts, self.numbers, strict=True)), None):
            yield self._encode(batch)

    def _cut(
        self, rows: list[tuple[str, int]], chance: random.Random | None
    ) -> list[list[tuple[str, int]]]:
        """Return rows of like length together; the batches shuffled, if by chance."""

        def noisy_length(row: tuple[str, int]) -> float:
            noise = chance.uniform(-LENGTH_NOISE, LENGTH_NOISE) if chance else 0.0
            return len(row[0]) * (1 + noise)

        rows = sorted(rows, key=noisy_length)
        batches = [rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size)]
        if chance:
            chance.shuffle(batches)
        return batches

    def _encode(self, rows: Sequence[tuple[str, int]]) -> dict[str, Any]:
        import torch

        limit = self.max_length * 32
        encoded = self.tokenizer(
            [readable_text(text, limit) for text, _ in rows],
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return {**encoded, "labels": torch.tensor([number for _, number in rows])}

    def _hide_tokens(self, tokens: "torch.Tensor", chance: random.Random) -> None:
        import torch

        generator = torch.Generator().manual_seed(chance.getrandbits(32))
        is_hidden = torch.rand(tokens.shape, generator=generator) < self.masked_share
        for special in self.tokenizer.all_special_ids:
            is_hidden &= tokens != special
        tokens[is_hidden] = self.tokenizer.mask_token_id


def window_of(text: str, chance: random.Random) -> str:
    """Return the text, or a window of its words, with the blanks between them as they are."""
    if chance.random() < WHOLE_SHARE:
        return text
    words = list(re.finditer(r"\S+", text))
    count = max(LEAST_WORDS, round(len(words) * chance.uniform(LEAST_PART, 1.0)))
    if count >= len(words):
        return text
    first = chance.randrange(len(words) - count + 1)
    return text[words[first].start() : words[first + count - 1].end()]
