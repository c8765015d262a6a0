"""The features of texts: TF-IDF to the last bit that of scikit-learn, style, and learned scores.

Owns the n-grams and weights of a fitted vectorizer, the order of the columns, and the hash that
binds members to them. Needs no scikit-learn.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.learned_scores import LearnedScores
from ivme.ensemble.rows import FeatureRows, join_rows
from ivme.ensemble.style import StyleBlock, style_names
from ivme.ensemble.text_normalization import normalized
from ivme.errors import UsageError

FORMAT = "ivme.tfidf"
SPLITTINGS = ("word", "token", "char", "char_wb")
VERSION = 2
TABLED_COUNTS = 4096  # logarithms of higher counts in a text may differ in the last bit
MAX_NGRAM = 32  # characters or words; longer ones repeat whole sentences


@dataclass(frozen=True, kw_only=True)
class NgramSettings:
    """One kind of n-grams: how to split, and how many of the most frequent to keep.

    splitting: word (two letters or digits at least), char, or char_wb (characters inside words,
    each word with a blank on both sides), as scikit-learn has them; token: words of any length and
    punctuation, each mark by itself. min_texts: n-grams in fewer texts are left out. is_sublinear:
    1 + log(count) in the place of the count. keeps_case: do not make the text lower-case.
    """

    splitting: str = "word"
    shortest: int = 1
    longest: int = 2
    max_features: int = 5000
    min_texts: int = 2
    is_sublinear: bool = False
    keeps_case: bool = False

    def __post_init__(self) -> None:
        if self.splitting not in SPLITTINGS:
            raise UsageError(f"splitting={self.splitting!r}; expected one of {list(SPLITTINGS)}")
        if not 1 <= self.shortest <= self.longest <= MAX_NGRAM:
            raise UsageError(
                f"n-grams from shortest={self.shortest} to longest={self.longest}; expected "
                f"1 <= shortest <= longest <= {MAX_NGRAM}"
            )
        if self.max_features < 1 or self.min_texts < 1:
            raise UsageError(
                f"max_features={self.max_features}, min_texts={self.min_texts}; expected 1 or more"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class NgramBlock:
    """The n-grams of one kind, in the order of their columns, with their inverse frequencies.

    idf: float64 [len(ngrams)]. The values of a block have length 1, in the Euclidean norm.
    """

    settings: NgramSettings
    ngrams: tuple[str, ...]
    idf: NDArray[np.float64]

    @cached_property
    def _native(self) -> Any:
        from ivme.ensemble import _kernels

        settings = self.settings
        counts = np.arange(TABLED_COUNTS if settings.is_sublinear else 0, dtype=np.float64)
        return _kernels.NgramBlock(
            settings.splitting,
            settings.shortest,
            settings.longest,
            self.ngrams,
            self.idf,
            np.log(np.maximum(counts, 1.0)) + 1.0,
        )

    def weigh(self, text: str, first: int = 0) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return `first` + the numbers of the n-grams in the text, rising, and their weights."""
        return self._native.weigh(text if self.settings.keeps_case else text.lower(), first)


@dataclass(frozen=True, eq=False)
class TfidfFeatures:
    """Fitted features: blocks of n-grams side by side, then style, then scores.

    style: how the text is written. scores: what linear models make of the n-grams, for members
    that cannot add up so many themselves. is_normalized: texts are read as `normalized` gives them.
    """

    blocks: tuple[NgramBlock, ...]
    style: StyleBlock | None = None
    scores: LearnedScores | None = None
    is_normalized: bool = False

    @cached_property
    def ngram_count(self) -> int:
        """The number of columns that are n-grams; they come first."""
        return sum(len(block.ngrams) for block in self.blocks)

    @cached_property
    def count(self) -> int:
        """The number of columns."""
        return self.ngram_count + len(self._dense_names)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides a value; members keep the one they were trained on."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each column: its kind and n-gram, printable characters only."""
        ngrams = tuple(
            f"{block.settings.splitting}:{_printable(ngram)}"
            for block in self.blocks
            for ngram in block.ngrams
        )
        return ngrams + self._dense_names

    @cached_property
    def _dense_names(self) -> tuple[str, ...]:
        style = () if self.style is None else tuple(f"style:{one}" for one in self.style.names)
        scores = 0 if self.scores is None else self.scores.count
        return (*style, *(f"score:{number}" for number in range(scores)))

    def transform(self, text: str) -> FeatureRows:
        """Return the features of one text as one row; words never seen count for nothing."""
        if self.is_normalized:
            text = normalized(text)
        columns, weights = self._ngrams_of(text)
        style = np.empty(0) if self.style is None else self.style.weigh(text)
        scores = np.empty(0) if self.scores is None else self.scores.of_row(columns, weights)
        dense = np.arange(self.ngram_count, self.count, dtype=np.int32)
        return FeatureRows(
            starts=np.array([0, len(columns) + len(dense)], np.int64),
            indices=np.concatenate([columns, dense]) if len(dense) else columns,
            values=np.concatenate([weights, style, scores]) if len(dense) else weights,
            feature_count=self.count,
        )

    def _ngrams_of(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        columns, weights = [], []
        first = 0
        for block in self.blocks:
            found, weighed = block.weigh(text, first)
            columns.append(found)
            weights.append(weighed)
            first += len(block.ngrams)
        if len(columns) == 1:
            return columns[0], weights[0]
        return np.concatenate(columns), np.concatenate(weights)

    def transform_batch(self, texts: Sequence[str]) -> FeatureRows:
        """Return the features of each text, a row each."""
        return join_rows([self.transform(text) for text in texts], self.count)

    def to_json(self) -> str:
        """Return the features as JSON, ASCII only: any character survives, lone surrogates too."""
        blocks = [
            {
                "settings": asdict(block.settings),
                "ngrams": block.ngrams,
                "idf": block.idf.tolist(),
            }
            for block in self.blocks
        ]
        content: dict[str, Any] = {"format": FORMAT, "version": VERSION, "blocks": blocks}
        content["is_normalized"] = self.is_normalized
        content["style"] = None if self.style is None else self.style.to_values()
        content["scores"] = None if self.scores is None else self.scores.to_values()
        return json.dumps(content)


def features_from_json(content: str, source: str) -> TfidfFeatures:
    """Return the features that `to_json` wrote; `source` names the file in errors.

    Raises:
        UsageError: not such a file, of a newer version, or with parts that do not fit together.
    """
    try:
        found = json.loads(content)
        is_ours = found["format"] == FORMAT and found["version"] == VERSION
        features = _read_features(found) if is_ours else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{source} holds no TF-IDF features ({error}); train again") from error
    if features is None:
        raise UsageError(
            f"{source} is not of format {FORMAT!r}, version {VERSION}; train again, or use the "
            "version of ivme that wrote it"
        )
    return features


def _read_features(found: dict) -> TfidfFeatures:
    blocks = tuple(_read_block(block) for block in found["blocks"])
    if not blocks:
        raise ValueError("no n-grams")
    style = None if found["style"] is None else StyleBlock.from_values(found["style"])
    if style is not None and style.names != style_names():
        raise ValueError("figures of style that this version of ivme does not measure")
    scores = None if found["scores"] is None else LearnedScores.from_values(found["scores"])
    features = TfidfFeatures(blocks, style, scores, found["is_normalized"] is True)
    if scores is not None and scores.ngram_count != features.ngram_count:
        raise ValueError(f"{scores.ngram_count} weights for {features.ngram_count} n-grams")
    return features


def _read_block(block: dict) -> NgramBlock:
    ngrams = tuple(block["ngrams"])
    idf = np.array(block["idf"], np.float64)
    if not ngrams or idf.shape != (len(ngrams),) or len(set(ngrams)) != len(ngrams):
        raise ValueError(f"{len(ngrams)} n-grams with {idf.size} inverse frequencies")
    if not all(isinstance(ngram, str) for ngram in ngrams) or not np.isfinite(idf).all():
        raise ValueError("an n-gram that is no text, or a weight that is no number")
    return NgramBlock(settings=NgramSettings(**block["settings"]), ngrams=ngrams, idf=idf)


def _printable(ngram: str) -> str:
    return "".join(
        letter if letter.isprintable() and letter != "\\" else f"\\u{{{ord(letter):x}}}"
        for letter in ngram
    )
