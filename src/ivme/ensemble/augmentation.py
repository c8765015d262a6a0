"""Variants of training texts: shorter, misspelled, in other letters, without some marks or words.

Members that saw them keep their answers when a text is cut short or carelessly disguised.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

Change = Callable[[str, Random], str]

MOST_TYPOS = 0.15  # of the longer words
BROKEN_LETTERS = 0.04
_SHORTEST_CROP_WORDS = 40
_LETTER = "abcdefghijklmnopqrstuvwxyz"
_ARTICLE = re.compile(r"\b(the|a|an) ", re.IGNORECASE)
_MARK = re.compile(r"[^\w\s]")
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


def cropped(text: str, chance: Random) -> str:
    """Return a run of words from the text, 40 at least where it has as many."""
    words = text.split(" ")
    if len(words) <= _SHORTEST_CROP_WORDS:
        return text
    count = chance.randint(_SHORTEST_CROP_WORDS, len(words))
    first = chance.randint(0, len(words) - count)
    return " ".join(words[first : first + count])


def misspelled(text: str, chance: Random) -> str:
    """Return the text with typing errors in up to MOST_TYPOS of the words of four letters or more.

    A letter inside the word is left out, doubled, replaced, or swapped with the next.
    """
    rate = chance.uniform(0.0, MOST_TYPOS)
    return " ".join(
        _with_typo(word, chance) if len(word) > 3 and chance.random() < rate else word
        for word in text.split(" ")
    )


def _with_typo(word: str, chance: Random) -> str:
    at = chance.randrange(1, len(word) - 1)
    before, letter, after = word[:at], word[at], word[at + 1 :]
    typed = chance.choice(("", letter + letter, chance.choice(_LETTER), after[0] + letter))
    return before + typed + (after[1:] if typed == after[0] + letter else after)


def lowercased(text: str, chance: Random) -> str:
    """Return the text in lower case."""
    return text.lower()


def with_random_capitals(text: str, chance: Random) -> str:
    """Return the text with up to a quarter of its letters in upper case."""
    rate = chance.uniform(0.0, 0.25)
    return "".join(letter.upper() if chance.random() < rate else letter for letter in text)


def broken_words(text: str, chance: Random) -> str:
    """Return the text with blanks inside some of its words."""
    rate = chance.uniform(0.0, BROKEN_LETTERS)
    return "".join(f"{letter} " if chance.random() < rate else letter for letter in text)


def without_articles(text: str, chance: Random) -> str:
    """Return the text without half of its English articles."""
    return _ARTICLE.sub(lambda found: "" if chance.random() < 0.5 else found[0], text)


def without_marks(text: str, chance: Random) -> str:
    """Return the text without punctuation."""
    return _MARK.sub("", text)


def with_shuffled_sentences(text: str, chance: Random) -> str:
    """Return the sentences of the text in random order."""
    sentences = _SENTENCE_END.split(text)
    chance.shuffle(sentences)
    return " ".join(sentences)


# How often a variant is of each kind. Cuts are the most common: texts come in every length.
CHANGES: tuple[tuple[Change, float], ...] = (
    (cropped, 0.40),
    (misspelled, 0.20),
    (lowercased, 0.10),
    (with_random_capitals, 0.06),
    (broken_words, 0.06),
    (without_articles, 0.06),
    (without_marks, 0.08),
    (with_shuffled_sentences, 0.04),
)


def varied(text: str, chance: Random) -> str:
    """Return a variant of the text, changed in one way drawn from CHANGES."""
    changes, shares = zip(*CHANGES, strict=True)
    return chance.choices(changes, shares)[0](text, chance)


def disguised(text: str, chance: Random) -> str:
    """Return the text changed in one way drawn from CHANGES, but not cut short."""
    changes, shares = zip(*(one for one in CHANGES if one[0] is not cropped), strict=True)
    return chance.choices(changes, shares)[0](text, chance)


def augmented(texts: Sequence[str], variants: int, seed: int = 0) -> list[str]:
    """Return the texts, then a variant of each, and so on: (variants + 1) times as many."""
    chance = Random(seed)
    return [*texts, *(varied(text, chance) for _ in range(variants) for text in texts)]
