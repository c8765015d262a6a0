"""N-grams of one text, split as scikit-learn's TfidfVectorizer splits them.

Knows the three ways of splitting (word, char, char_wb) and counting what a vocabulary has; knows
nothing of weights.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

_WORD = re.compile(r"(?u)\b\w\w+\b")
_WHITE_SPACE_RUN = re.compile(r"\s\s+")

Splitter = Callable[[str, int, int], Iterable[str]]


def count_ngrams(
    text: str, splitter: Splitter, shortest: int, longest: int, vocabulary: Mapping[str, int]
) -> dict[int, int]:
    """Return how often each n-gram of the vocabulary is in the lower-cased text, by its number."""
    ngrams = splitter(text.lower(), shortest, longest)
    counts: dict[int | None, int] = Counter(map(vocabulary.get, ngrams))
    counts.pop(None, None)
    return counts  # type: ignore[return-value]  # None, of n-grams unknown, is gone


def split_words(text: str, shortest: int, longest: int) -> Iterable[str]:
    """Return runs of `shortest` to `longest` words; a word has two letters or digits at least."""
    words = _WORD.findall(text)
    runs: list[Iterable[str]] = [words] if shortest == 1 else []
    for length in range(max(shortest, 2), longest + 1):
        shifted = (words[start:] for start in range(length))
        runs.append(map(" ".join, zip(*shifted, strict=False)))
    return chain.from_iterable(runs)


def split_characters(text: str, shortest: int, longest: int) -> Iterable[str]:
    """Return runs of characters; a run of white space counts as one blank."""
    text = _WHITE_SPACE_RUN.sub(" ", text)
    return chain.from_iterable(
        _windows(text, length) for length in range(shortest, min(longest, len(text)) + 1)
    )


def split_characters_in_words(text: str, shortest: int, longest: int) -> Iterator[str]:
    """Yield runs of characters inside words, each word with a blank on both sides.

    A word that is shorter than a length counts once, whole, and not again for greater lengths.
    """
    for word in text.split():
        padded = f" {word} "
        for length in range(shortest, longest + 1):
            yield padded[:length]
            yield from _windows(padded[1:], length)
            if length >= len(padded):
                break


def _windows(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))


SPLITTERS: Mapping[str, Splitter] = {
    "word": split_words,
    "char": split_characters,
    "char_wb": split_characters_in_words,
}
