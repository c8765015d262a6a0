"""Batches that a transformer is trained on: windows of texts, of like length, some of it changed.

Every pass sees other windows. What a network learns from them holds for texts of any length, and
for texts that begin and end anywhere.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.ensemble.augmentation import disguised
from ivme.ensemble.groups import CHARACTERS_PER_TOKEN, readable_text
from ivme.ensemble.transformer_settings import Recipe
from ivme.ensemble.words import word_spans

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

WORDS_TO_A_TOKEN = 0.75  # a window of so many words rarely has too many tokens, or few
BEGINNING_SHARE = 0.3  # of the windows, at least: the beginning is what is read of a long text
LEAST_PART = 0.35  # of its words that a shortened window keeps
LEAST_WORDS = 25  # in a shortened window
LENGTH_NOISE = 0.2  # by which lengths are off when batches are put together


@dataclass(frozen=True, kw_only=True)
class BatchMaker:
    """Makes the batches of a pass over the texts; the same seed and epoch make the same ones.

    numbers: of the label of each text. max_length: tokens.
    """

    tokenizer: "PreTrainedTokenizerBase"
    texts: Sequence[str]
    numbers: Sequence[int]
    batch_size: int
    max_length: int
    recipe: Recipe
    seed: int

    @property
    def per_epoch(self) -> int:
        """The batches in a pass."""
        return -(-len(self.texts) // self.batch_size)

    def training(self, epoch: int) -> Iterator[dict[str, Any]]:
        """Return the batches of one pass: windows of the texts, in random order."""
        chance = random.Random(f"{self.seed}-{epoch}")
        rows = [
            (self._window(text, chance), number)
            for text, number in zip(self.texts, self.numbers, strict=True)
        ]
        for batch in self._cut(rows, chance):
            encoded = self._encode(batch)
            if self.recipe.masked_share and self.tokenizer.mask_token_id is not None:
                self._hide_tokens(encoded["input_ids"], chance)
            yield encoded

    def whole(self) -> Iterator[dict[str, Any]]:
        """Return batches of the texts as they are."""
        for batch in self._cut(list(zip(self.texts, self.numbers, strict=True)), None):
            yield self._encode(batch)

    def _window(self, text: str, chance: random.Random) -> str:
        most_words = max(1, round(WORDS_TO_A_TOKEN * self.max_length))
        window = window_of(text, chance, most_words, self.recipe.shortened_share)
        return disguised(window, chance) if chance.random() < self.recipe.changed_share else window

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

        limit = self.max_length * CHARACTERS_PER_TOKEN
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
        is_hidden = torch.rand(tokens.shape, generator=generator) < self.recipe.masked_share
        for special in self.tokenizer.all_special_ids:
            is_hidden &= tokens != special
        tokens[is_hidden] = self.tokenizer.mask_token_id


def window_of(text: str, chance: random.Random, most_words: int, shortened_share: float) -> str:
    """Return a run of words of the text, with the blanks between them as they are.

    It has most_words, or as many as the text; or fewer, in a share of the cases.
    """
    words = word_spans(text)
    count = min(len(words), most_words)
    if chance.random() < shortened_share and count > LEAST_WORDS:
        count = max(LEAST_WORDS, round(count * chance.uniform(LEAST_PART, 1.0)))
    if count == len(words):
        return text
    is_beginning = chance.random() < BEGINNING_SHARE
    first = 0 if is_beginning else chance.randrange(len(words) - count + 1)
    return text[words[first][0] : words[first + count - 1][1]]
