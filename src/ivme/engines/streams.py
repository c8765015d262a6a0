"""Streams: several sessions of one model, each on its own threads, that calls share.

Two streams of one thread often do more than one stream of two: nothing waits for the slower half
of each operation. It takes the memory of each session.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ivme.engines.batching import padding_of
from ivme.engines.protocol import Engine, EngineOptions, Prediction, Session, StageSeconds
from ivme.errors import UsageError

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel


class SessionPool:
    """Sessions of one model as one session that threads may share; a call waits for a free one."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        assert sessions
        self.precision = sessions[0].precision
        self.notes = sessions[0].notes
        self.sessions = tuple(sessions)
        self._is_closed = False
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            self._free.put(session)

    @property
    def streams(self) -> int:
        """The calls that run at a time."""
        return len(self.sessions)

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; all texts run as one batch."""
        with self._one() as session:
            return session.predict(texts, stages)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation, padding not counted."""
        with self._one() as session:
            return session.count_tokens(texts)

    def padded(self, length: int) -> int:
        """Return the tokens that a batch is padded to if its longest text has `length`."""
        return padding_of(self.sessions[0])(length)

    def close(self) -> None:
        """Close every session, each as soon as it is free."""
        if self._is_closed:
            return
        self._is_closed = True
        for _ in self.sessions:
            self._free.get().close()

    @contextmanager
    def _one(self) -> Iterator[Session]:
        if self._is_closed:
            raise UsageError("the model was closed before this call; load it again")
        session = self._free.get()
        try:
            yield session
        finally:
            self._free.put(session)


def prepare_streams(
    engine: Engine, model: "LoadedModel", options: EngineOptions, streams: int
) -> SessionPool:
    """Return a session that runs `streams` calls at a time, on `options.threads` threads each.

    Raises:
        RefusedError: the engine cannot run this model.
    """
    if streams == 1:
        return SessionPool([engine.prepare(model, options)])
    # Transformers' tokenizers keep the limits of the last call, so none may be shared by threads.
    copies = (replace(model, tokenizer=copy.deepcopy(model.tokenizer)) for _ in range(streams))
    return SessionPool([engine.prepare(copied, options) for copied in copies])
