"""How many tokens a text has, guessed from its bytes by what the model found in earlier ones.

The server does not tokenize: the processes that hold models do, and tell what they counted.
"""

from collections.abc import Sequence

FIRST_BYTES_PER_TOKEN = 4.0  # of English in common vocabularies
SPECIAL_TOKENS = 2
RECENT = 0.1  # weight of the newest texts


class TokenEstimate:
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
