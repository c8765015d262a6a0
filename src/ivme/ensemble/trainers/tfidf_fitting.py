"""Fits TF-IDF features to texts, with scikit-learn, or takes over what it has fitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ivme.ensemble.features import NgramBlock, NgramSettings, TfidfFeatures
from ivme.ensemble.style import StyleBlock, measure_style, style_names
from ivme.ensemble.text_normalization import normalized
from ivme.errors import UsageError

# The options of TfidfVectorizer that the features here have no other choice for.
_FIXED: dict[str, Any] = {
    "input": "content",
    "dtype": np.float64,
    "strip_accents": None,
    "preprocessor": None,
    "tokenizer": None,
    "stop_words": None,
    "binary": False,
    "norm": "l2",
    "use_idf": True,
}
_WORD_PATTERN = r"(?u)\b\w\w+\b"
_TOKEN_PATTERN = r"(?u)\w+|[^\w\s]"


def fit_features(
    texts: Sequence[str],
    blocks: Sequence[NgramSettings],
    *,
    style_weight: float = 0.0,
    is_normalized: bool = False,
) -> TfidfFeatures:
    """Return the features of these texts: for each block its most frequent n-grams.

    style_weight: what a deviation in a figure of style counts; 0 leaves style out. is_normalized:
    fit to the texts, and read others, as `normalized` gives them.

    Raises:
        UsageError: no block, or no n-gram is in enough texts.
    """
    if not blocks:
        raise UsageError("no kind of n-grams given; expected at least one NgramSettings")
    if is_normalized:
        texts = [normalized(text) for text in texts]
    return TfidfFeatures(
        tuple(_fit_block(texts, settings) for settings in blocks),
        style=_fit_style(texts, style_weight) if style_weight else None,
        is_normalized=is_normalized,
    )


def _fit_style(texts: Sequence[str], weight: float) -> StyleBlock:
    figures = np.stack([measure_style(text) for text in texts])
    deviations = figures.std(axis=0)
    return StyleBlock(
        names=style_names(),
        means=figures.mean(axis=0),
        deviations=np.where(deviations > 0, deviations, 1.0),
        weight=weight,
    )


def features_of_vectorizer(vectorizer: Any) -> TfidfFeatures:
    """Return the features of a fitted TfidfVectorizer, with the same columns and values.

    Raises:
        UsageError: an option is set that these features do not have.
    """
    for name, value in _FIXED.items():
        if getattr(vectorizer, name) != value:
            raise UsageError(
                f"the vectorizer has {name}={getattr(vectorizer, name)!r}; only {name}={value!r} "
                "can be taken over: fit it again so"
            )
    splitting = _splitting_of(vectorizer)
    shortest, longest = vectorizer.ngram_range
    ngrams = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    settings = NgramSettings(
        splitting=splitting,
        shortest=shortest,
        longest=longest,
        max_features=vectorizer.max_features or len(ngrams),
        min_texts=vectorizer.min_df if isinstance(vectorizer.min_df, int) else 1,
        is_sublinear=vectorizer.sublinear_tf,
        keeps_case=not vectorizer.lowercase,
    )
    idf = np.array(vectorizer.idf_, np.float64)
    return TfidfFeatures((NgramBlock(settings=settings, ngrams=tuple(ngrams), idf=idf),))


def _splitting_of(vectorizer: Any) -> str:
    if vectorizer.analyzer != "word":
        return str(vectorizer.analyzer)
    known = {_WORD_PATTERN: "word", _TOKEN_PATTERN: "token"}
    if vectorizer.token_pattern not in known:
        raise UsageError(
            f"the vectorizer has token_pattern={vectorizer.token_pattern!r}; only "
            f"{_WORD_PATTERN!r} and {_TOKEN_PATTERN!r} can be taken over: fit it again so"
        )
    return known[vectorizer.token_pattern]


def _fit_block(texts: Sequence[str], settings: NgramSettings) -> NgramBlock:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer="word" if settings.splitting == "token" else settings.splitting,
        token_pattern=_TOKEN_PATTERN if settings.splitting == "token" else _WORD_PATTERN,
        lowercase=not settings.keeps_case,
        ngram_range=(settings.shortest, settings.longest),
        max_features=settings.max_features,
        min_df=settings.min_texts,
        sublinear_tf=settings.is_sublinear,
    )
    try:
        vectorizer.fit(texts)
    except ValueError as error:  # an empty vocabulary, or one text for two
        raise UsageError(
            f"no {settings.splitting} n-gram of length {settings.shortest} to {settings.longest} "
            f"is in {settings.min_texts} of the {len(texts)} texts; give more texts, or lower "
            "min_texts"
        ) from error
    return features_of_vectorizer(vectorizer).blocks[0]
