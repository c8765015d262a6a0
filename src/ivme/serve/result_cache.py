"""Answers that are remembered: the latest, by the text's hash. One model, so one cache."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Any


class ResultCache:
    """The answers to the texts asked for last; not for several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[bytes, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, text: str) -> Any | None:
        """Return the answer to the text, or None."""
        if not self._size:
            return None
        key = _key(text)
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, text: str, answer: Any) -> None:
        """Remember an answer; the one asked for longest ago makes way."""
        if not self._size:
            return
        self._answers[_key(text)] = answer
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8"), digest_size=16).digest()
