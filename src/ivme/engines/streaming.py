"""Generated text in pieces: whoever listens hears each token as an engine chooses it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ivme.models.interface import TextModel

INCOMPLETE = "\ufffd"  # what the first bytes of a longer character decode to

_listener: ContextVar[Callable[[int], None] | None] = ContextVar("ivme_listener", default=None)


@contextmanager
def tokens_heard(tell: Callable[[int], None]) -> Iterator[None]:
    """Call `tell` with each token that is generated within the block, by this thread, for one text.

    Whatever `tell` raises ends the generating.
    """
    before = _listener.set(tell)
    try:
        yield
    finally:
        _listener.reset(before)


def is_heard() -> bool:
    """Return whether anyone listens."""
    return _listener.get() is not None


def hear(tokens: "np.ndarray") -> None:
    """Tell who listens of the next token ids [1, 1]."""
    tell = _listener.get()
    if tell is not None:
        tell(int(tokens[0, 0]))


class TokenStreamer:
    """What Transformers' `generate` tells of its tokens: the prompt first, which is left out."""

    def __init__(self) -> None:
        self._has_begun = False

    def put(self, tokens: Any) -> None:
        """Pass on the next token, [1]; the first call brings what the text begins with."""
        if self._has_begun:
            hear(tokens.reshape(1, 1).numpy())
        self._has_begun = True

    def end(self) -> None:
        """Nothing more comes."""


class TextPieces:
    """Tokens to the pieces of text that they add, whole characters each."""

    def __init__(self, model: "TextModel") -> None:
        self._model = model
        self._tokens: list[int] = []
        self._told = ""

    def add(self, token: int) -> str:
        """Return what the token adds to the text; empty if it is part of a character."""
        self._tokens.append(token)
        [text] = self._model.tokenizer.batch_decode([self._tokens], skip_special_tokens=True)
        if text.endswith(INCOMPLETE):
            return ""
        return self.rest(text)

    def rest(self, text: str) -> str:
        """Return what the text has beyond the pieces until now, and take it as told."""
        if not text.startswith(self._told):
            return ""
        piece, self._told = text[len(self._told) :], text
        return piece
