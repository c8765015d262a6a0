"""A bounded cache of results, keyed by a text and by the content hash of what judged it.

Texts are kept as digests of 32 bytes, so that the cache holds answers and no texts.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from ivme.errors import UsageError

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """How often results were found since the start; size: results kept now."""

    hits: int
    misses: int
    size: int

    @property
    def hit_rate(self) -> float:
        """The part of all look-ups that found a result, 0 to 1; 0 before the first."""
        looked_up = self.hits + self.misses
        return self.hits / looked_up if looked_up else 0.0


class ResultCache(Generic[Result]):
    """The last results that were used, at most `capacity` of them; safe to share by threads.

    content_hash: of what gives the results; others give other keys, and where only one does it may
    be left out. capacity: 0 keeps none.
    """

    def __init__(self, capacity: int, content_hash: str = "") -> None:
        if capacity < 0:
            raise UsageError(f"cache_size={capacity}; expected 0 (no cache) or more")
        self.capacity = capacity
        self._secret = hashlib.blake2b(content_hash.encode()).digest()
        self._results: OrderedDict[bytes, Result] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def key(self, encoded_text: bytes) -> bytes:
        """Return the key of a text encoded as UTF-8."""
        return hashlib.blake2b(encoded_text, digest_size=32, key=self._secret).digest()

    def get(self, key: bytes) -> Result | None:
        """Return the result kept for a key, or None; it counts as used now."""
        with self._lock:
            result = self._results.get(key)
            if result is None:
                self._misses += 1
                return None
            self._hits += 1
            self._results.move_to_end(key)
            return result

    def put(self, key: bytes, result: Result) -> None:
        """Keep a result; where there are too many, the one unused for longest goes."""
        if not self.capacity:
            return
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > self.capacity:
                self._results.popitem(last=False)

    def clear(self) -> None:
        """Drop all results; hits and misses stay counted."""
        with self._lock:
            self._results.clear()

    @property
    def stats(self) -> CacheStats:
        """Hits, misses and size at this moment."""
        with self._lock:
            return CacheStats(hits=self._hits, misses=self._misses, size=len(self._results))
