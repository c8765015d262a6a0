"""Fits TF-IDF features to texts, with scikit-learn."""

from collections.abc import Sequence

import numpy as np

from ivme.ensemble.features import NgramBlock, NgramSettings, TfidfFeatures
from ivme.errors import UsageError


def fit_features(texts: Sequence[str], blocks: Sequence[NgramSettings]) -> TfidfFeatures:
    """Return the features of these texts: for each block its most frequent n-grams.

    Raises:
        UsageError: no block, or no n-gram is in enough texts.
    """
    if not blocks:
        raise UsageError("no kind of n-grams given; expected at least one NgramSettings")
    return TfidfFeatures(tuple(_fit_block(texts, settings) for settings in blocks))


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
    except ValueError as error:  # an empty vocabulary
        raise UsageError(
            f"no {settings.splitting} n-gram of length {settings.shortest} to {settings.longest} "
            f"is in {settings.min_texts} of the {len(texts)} texts; give more texts, or lower "
            "min_texts"
        ) from error
    ngrams = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    return NgramBlock(
        settings=settings, ngrams=tuple(ngrams), idf=np.array(vectorizer.idf_, np.float64)
    )
