import random
import threading

import pytest

from ivme.ensemble.result_cache import ResultCache
from ivme.errors import UsageError


def test_the_result_unused_for_longest_goes_first() -> None:
    cache: ResultCache[str] = ResultCache(2, "hash")
    first, second, third = (cache.key(text) for text in (b"a", b"b", b"c"))
    cache.put(first, "A")
    cache.put(second, "B")
    assert cache.get(first) == "A"
    cache.put(third, "C")

    assert [cache.get(key) for key in (first, second, third)] == ["A", None, "C"]
    assert cache.stats.size == 2


def test_hits_misses_and_their_rate_are_told() -> None:
    cache: ResultCache[str] = ResultCache(2, "hash")
    assert cache.stats.hit_rate == 0
    cache.get(cache.key(b"a"))
    cache.put(cache.key(b"a"), "A")
    for _ in range(3):
        cache.get(cache.key(b"a"))

    assert (cache.stats.hits, cache.stats.misses, cache.stats.hit_rate) == (3, 1, 0.75)


def test_other_models_have_other_keys() -> None:
    assert ResultCache(1, "one").key(b"a") != ResultCache(1, "other").key(b"a")
    assert ResultCache(1, "one").key(b"a") == ResultCache(1, "one").key(b"a")


def test_a_cache_of_none_keeps_none_and_less_is_refused() -> None:
    cache: ResultCache[str] = ResultCache(0, "hash")
    cache.put(cache.key(b"a"), "A")
    assert cache.get(cache.key(b"a")) is None
    with pytest.raises(UsageError, match="cache_size=-1; expected 0"):
        ResultCache(-1, "hash")


def test_threads_share_a_cache_without_losing_count() -> None:
    cache: ResultCache[int] = ResultCache(50, "hash")
    wrong = []

    def use(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(2000):
            number = draw.randrange(100)
            key = cache.key(b"%d" % number)
            if cache.get(key) not in (None, number):
                wrong.append(number)
            cache.put(key, number)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert cache.stats.hits + cache.stats.misses == 8000
    assert cache.stats.size == 50
