"""Open sessions of a search: made ready once, kept while they are in the race, then freed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ivme.engines.protocol import Engine, EngineOptions, Session
from ivme.engines.streams import prepare_streams
from ivme.errors import OutOfMemoryError
from ivme.measure.clock import Clock
from ivme.measure.memory import release_free_memory
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from ivme.tune.space import preparing_s, why_unusable
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

# Engine, precision, threads, padding, streams, and new tokens last.
_Key = tuple[str, str, int, tuple[int | None, ...], int, int]


class Unusable(Exception):
    """A variant that cannot run here; the message is the reason."""


class Sessions:
    """Sessions by what they depend on; variants that differ in batch size alone share one."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        model: "LoadedModel",
        options: EngineOptions,
        clock: Clock,
    ) -> None:
        """Nothing is opened yet. options: what all variants share."""
        self.engines, self.model, self.options, self._clock = engines, model, options, clock
        self._open: dict[_Key, Session] = {}
        self._held: set[_Key] | None = None  # in use by a step that is running
        self._prepared_s: dict[
            str, float
        ] = {}  # the shortest, by engine: the first loads libraries

    def get(self, variant: Variant, new_tokens: int | None = None) -> Session:
        """Return the variant's session, made ready now if it is not open.

        new_tokens: in place of those in the shared options.

        Raises:
            Unusable: the engine refuses, fails, or its library is not installed.
            OutOfMemoryError: it does not fit, even alone.
        """
        key = self._key(variant, new_tokens)
        if key not in self._open:
            start_s = self._clock.now()
            self._open[key] = self._prepare(variant, new_tokens)
            took_s = self._clock.now() - start_s
            self.note_preparing(variant.engine, took_s)
        if self._held is not None:
            self._held.add(key)
        return self._open[key]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep open, until the end of the block, whatever is asked for within it.

        What then does not fit beside it is out of memory.
        """
        self._held = set()
        try:
            yield
        finally:
            self._held = None

    def note_preparing(self, engine: str, took_s: float) -> None:
        """Keep how long an engine took, for later estimates."""
        self._prepared_s[engine] = min(took_s, self._prepared_s.get(engine, took_s))

    def estimate_s(self, variant: Variant) -> float:
        """Return about how long it takes until the variant is ready; 0 if it is."""
        if self._key(variant, None) in self._open:
            return 0.0
        seen = self._prepared_s.get(variant.engine)
        return preparing_s(self.engines[variant.engine], self.model) if seen is None else seen

    def keep_only(self, variants: Iterable[Variant]) -> None:
        """Close every session that none of the variants runs on, and free its memory."""
        kept = {self._key(one, None)[:-1] for one in variants}
        self._close([key for key in self._open if key[:-1] not in kept])

    def use_length(self, max_length: int) -> None:
        """Cut texts to so many tokens from now on."""
        self.keep_only(())
        self.options = replace(self.options, max_length=max_length)

    def _close(self, keys: Iterable[_Key]) -> None:
        for key in keys:
            self._open.pop(key).close()
        release_free_memory()

    def _prepare(self, variant: Variant, new_tokens: int | None) -> Session:
        try:
            return self._try_to_prepare(variant, new_tokens)
        except OutOfMemoryError:
            if not self._open.keys() - (self._held or set()):
                raise
        self._close(self._open.keys() - (self._held or set()))  # these can be made again
        return self._try_to_prepare(variant, new_tokens)

    def _try_to_prepare(self, variant: Variant, new_tokens: int | None) -> Session:
        options = variant.options(self.options)
        if new_tokens is not None:
            options = replace(options, new_tokens=new_tokens)
        try:
            with memory_guard():
                engine, streams = self.engines[variant.engine], variant.batching.streams
                if streams > 1:
                    return prepare_streams(engine, self.model, options, streams)
                return engine.prepare(self.model, options)
        except Exception as error:  # libraries fail in their own ways; the search goes on
            if is_out_of_memory(error) or isinstance(error, OutOfMemoryError):
                raise OutOfMemoryError(why_unusable(variant.engine, error)) from error
            raise Unusable(why_unusable(variant.engine, error)) from error

    def _key(self, variant: Variant, new_tokens: int | None) -> _Key:
        count = self.options.new_tokens if new_tokens is None else new_tokens
        batching = variant.batching
        padding = (batching.pad_to, *batching.buckets)
        return (
            variant.engine,
            variant.precision,
            variant.threads,
            padding,
            batching.streams,
            count,
        )
