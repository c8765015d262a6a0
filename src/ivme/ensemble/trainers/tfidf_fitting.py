"""Fits TF-IDF features to texts, with scikit-learn, or takes over what it has fitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ivme.ensemble.features import NgramBlock, NgramSettings, TfidfFeatures
from ivme.errors import UsageError

# The options of TfidfVectorizer that the features here have no other choice for.
_FIXED: dict[str, Any] = {
    "input": "content",
    "dtype": np.float64,
    "lowercase": True,
    "strip_accents": None,
    "preprocessor": None,
    "tokenizer": None,
    "stop_words": None,
    "token_pattern": r"(?u)\b\w\w+\b",
    "binary": False,
    "norm": "l2",
    "use_idf": True,
}


def fit_features(texts: Sequence[str], blocks: Sequence[NgramSettings]) -> TfidfFeatures:
    """Return the features of these texts: for each block its most frequent n-grams.

    Raises:
        UsageError: no block, or no n-gram is in enough texts.
    """
    if not blocks:
        raise UsageError("no kind of n-grams given; expected at least one NgramSettings")
    return TfidfFeatures(tuple(_fit_block(texts, settings) for settings in blocks))


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
    shortest, longest = vectorizer.ngram_range
    ngrams = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    settings = NgramSettings(
        splitting=vectorizer.analyzer,
        shortest=shortest,
        longest=longest,
        max_features=vectorizer.max_features or len(ngrams),
        min_texts=vectorizer.min_df if isinstance(vectorizer.min_df, int) else 1,
        is_sublinear=vectorizer.sublinear_tf,
    )
    idf = np.array(vectorizer.idf_, np.float64)
    return TfidfFeatures((NgramBlock(settings=settings, ngrams=tuple(ngrams), idf=idf),))


def _fit_block(texts: Sequence[str], settings: NgramSettings) -> NgramBlock:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer=settings.splitting,
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
