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
    folds: NDArray[np.intp],
) -> tuple[TfidfFeatures, FeatureRows]:
    """Return the features with scores, and the rows with scores by models that did not see them.

    rows: of `features`, which have no scores. folds: of each row, [rows], as `fold_numbers` gives
    them; no label may be in one fold alone.
    """
    matrix = as_csr(rows)
    models, unseen = [], []
    blocks = _block_ranges(features)
    for low, high in blocks:
        models.append(_fit(matrix[:, low:high], label_numbers))
        unseen.append(_unseen_scores(matrix[:, low:high], label_numbers, folds))
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


def fold_numbers(
    groups: NDArray[np.intp], label_numbers: NDArray[np.intp], folds: int = FOLDS
) -> NDArray[np.intp]:
    """Return a fold for each text, [texts], so that a group is in one and folds are alike large.

    The groups of each label are spread over the folds; one of several labels counts as one of that
    which the fewest groups have.
    """
    _, members = np.unique(groups, return_inverse=True)
    has_label = np.zeros((members.max() + 1, label_numbers.max() + 1), bool)
    has_label[members, label_numbers] = True
    rarest = np.where(has_label, has_label.sum(axis=0), len(has_label) + 1).argmin(axis=1)
    order = np.random.RandomState(0).permutation(len(has_label))
    ranked = order[np.argsort(rarest[order], kind="stable")]
    fold_of = np.empty(len(ranked), np.intp)
    fold_of[ranked] = np.arange(len(ranked)) % folds
    return np.asarray(fold_of[members])


def _block_ranges(features: TfidfFeatures) -> list[tuple[int, int]]:
    ends = np.cumsum([len(block.ngrams) for block in features.blocks]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _fit(matrix: Any, label_numbers: NDArray[np.intp]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=STRENGTH, tol=TOLERANCE, max_iter=300).fit(matrix, label_numbers)


def _unseen_scores(
    matrix: Any, label_numbers: NDArray[np.intp], folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    rows, scores = [], []
    for fold in np.unique(folds):
        is_seen = folds != fold
        model = _fit(matrix[is_seen], label_numbers[is_seen])
        found = model.decision_function(matrix[~is_seen])
        rows.append(np.flatnonzero(~is_seen))
        scores.append(found.reshape(len(found), -1))
    return np.concatenate(scores)[np.argsort(np.concatenate(rows))]
