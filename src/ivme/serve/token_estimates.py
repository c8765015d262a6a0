"""How many tokens a text has, as the server knows before a model reads it.

Counted where a tokenizer is one file that reads without PyTorch; otherwise guessed from the text's
bytes, by what the model found in earlier ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

FIRST_BYTES_PER_TOKEN = 4.0  # of English in common vocabularies
SPECIAL_TOKENS = 2
RECENT = 0.1  # weight of the newest texts
MOST_CHARACTERS_PER_TOKEN = 8  # of a text that is cut, what lies beyond need not be counted


class TokenEstimate(Protocol):
    """What says how long texts are."""

    def tokens(self, text: str) -> int:
        """Return about how many tokens the model reads of the text."""
        ...

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """Take note that these texts had so many tokens together."""
        ...


class TokenCount:
    """Tokens, counted by the tokenizer of a plan: 0.1 ms for a text of 60 words.

    folder: of the tokenizer. max_tokens: where the model cuts texts.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        from ivme.models.tokenizer_file import TokenizerFile

        self._tokenizer = TokenizerFile(folder)
        self._max_tokens = max_tokens

    def tokens(self, text: str) -> int:
        """Return how many tokens the model reads of the text."""
        beginning = text[: MOST_CHARACTERS_PER_TOKEN * self._max_tokens]
        [ids] = self._tokenizer([beginning], return_attention_mask=False)["input_ids"]
        return min(len(ids), self._max_tokens)

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """Do nothing: what was counted is known."""


class LearnedEstimate:
    """Bytes of UTF-8 per token, learnt as texts are answered.

    max_tokens: where the model cuts texts; those longer teach nothing.
    """

    def __init__(self, max_tokens: int | None) -> None:
        self.max_tokens = max_tokens
        self.bytes_per_token = FIRST_BYTES_PER_TOKEN

    def tokens(self, text: str) -> int:
        """Return about how many tokens the model reads of the text."""
        count = SPECIAL_TOKENS + round(len(text.encode()) / self.bytes_per_token)
        return min(count, self.max_tokens or count)

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """Take note that these texts had so many tokens together."""
        found = tokens - SPECIAL_TOKENS * len(texts)
        size = sum(len(text.encode()) for text in texts)
        is_cut = self.max_tokens is not None and tokens > 0.8 * self.max_tokens * len(texts)
        if found > 0 and size and not is_cut:
            self.bytes_per_token += RECENT * (size / found - self.bytes_per_token)
