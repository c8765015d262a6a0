"""Text from tokens as they come: a character is shown once all its tokens are there."""

from mm_rec.data.tokenizers import Tokenizer

REPLACEMENT = "\ufffd"  # what an incomplete character decodes to


class StreamingText:
    """Turns tokens into pieces of text, at a constant cost a token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._begin = self._shown = 0  # of the context to decode in, and of what is not shown yet

    def add(self, token: int) -> str:
        """Return the text that is complete with this token; often it is empty."""
        self._ids.append(token)
        piece = self._new_text()
        if not piece or piece.endswith(REPLACEMENT):
            return ""
        self._begin, self._shown = self._shown, len(self._ids)
        return piece

    def rest(self) -> str:
        """Return what is left at the end, complete or not."""
        return self._new_text()

    def _new_text(self) -> str:
        # Some tokenizers write a word's space or not, depending on the token before it.
        before = self._tokenizer.decode(self._ids[self._begin : self._shown])
        return self._tokenizer.decode(self._ids[self._begin :])[len(before) :]
