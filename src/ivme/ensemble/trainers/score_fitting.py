"""Fits the learned scores: a linear model on each block of n-grams.

For the texts in training the scores come from models that did not see them, or trees would trust
the scores more than they deserve.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.features import TfidfFeatures
from ivme.ensemble.learned_scores import LearnedScores
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.trainers.sklearn_trainer import as_csr

FOLDS = 5
STRENGTH = 20.0  # scikit-learn's C: n-grams are many and rare, so little is held back
TOLERANCE = 1e-2


def fit_scores(
    features: TfidfFeatures,
    rows: FeatureRows,
    label_numbers: NDArray[np.intp],
    groups: NDArray[np.intp],
) -> tuple[TfidfFeatures, FeatureRows]:
    """Return the features with scores, and the rows with scores by models that did not see them.

    rows: of `features`, which have no scores. groups: texts of one number, [rows], are in one fold.
    """
    matrix = as_csr(rows)
    models, unseen = [], []
    blocks = _block_ranges(features)
    for low, high in blocks:
        models.append(_fit(matrix[:, low:high], label_numbers))
        unseen.append(_unseen_scores(matrix[:, low:high], label_numbers, groups))
    weights = np.zeros((sum(len(one.coef_) for one in models), features.ngram_count), np.float32)
    first = 0
    for (low, high), model in zip(blocks, models, strict=True):
        weights[first : first + len(model.coef_), low:high] = model.coef_
        first += len(model.coef_)
    intercepts = np.concatenate([np.ravel(one.intercept_) for one in models])
    scores = LearnedScores(weights=weights, intercepts=intercepts)
    return replace(features, scores=scores), with_columns(rows, np.hstack(unseen))


def with_columns(rows: FeatureRows, dense: NDArray[np.float64]) -> FeatureRows:
    """Return the rows with further columns, dense [rows, columns], at their ends."""
    width = dense.shape[1]
    ends = np.repeat(rows.starts[1:], width)
    numbers = np.tile(np.arange(width, dtype=np.int32) + rows.feature_count, len(rows))
    return FeatureRows(
        starts=rows.starts + width * np.arange(len(rows) + 1),
        indices=np.insert(rows.indices, ends, numbers).astype(np.int32),
        values=np.insert(rows.values, ends, dense.ravel()),
        feature_count=rows.feature_count + width,
    )


def fold_numbers(groups: NDArray[np.intp], folds: int = FOLDS) -> NDArray[np.intp]:
    """Return a fold for each text, [texts], so that a group is in one and folds are alike large."""
    _, members = np.unique(groups, return_inverse=True)
    order = np.random.RandomState(0).permutation(members.max() + 1)
    return np.asarray(order[members] % folds, np.intp)


def _block_ranges(features: TfidfFeatures) -> list[tuple[int, int]]:
    ends = np.cumsum([len(block.ngrams) for block in features.blocks]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _fit(matrix: Any, label_numbers: NDArray[np.intp]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=STRENGTH, tol=TOLERANCE, max_iter=300).fit(matrix, label_numbers)


def _unseen_scores(
    matrix: Any, label_numbers: NDArray[np.intp], groups: NDArray[np.intp]
) -> NDArray[np.float64]:
    folds = fold_numbers(groups)
    rows, scores = [], []
    for fold in np.unique(folds):
        is_seen = folds != fold
        model = _fit(matrix[is_seen], label_numbers[is_seen])
        found = model.decision_function(matrix[~is_seen])
        rows.append(np.flatnonzero(~is_seen))
        scores.append(found.reshape(len(found), -1))
    return np.concatenate(scores)[np.argsort(np.concatenate(rows))]
