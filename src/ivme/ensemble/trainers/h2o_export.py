"""Compiles what an H2O model was described as, so that scoring needs no Java.

H2O keeps thresholds in fp32 and compares them with float64 values; a value goes right where
value >= threshold. A node whose threshold is NaN parts missing values from all others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.linear import LinearModel
from ivme.ensemble.member import Member
from ivme.ensemble.trainers.h2o_description import H2ODescription, H2OTreeArrays
from ivme.ensemble.trees import LEAF, Forest, Tree, build_forest
from ivme.errors import UsageError

Columns = Mapping[str, int]


def compile_h2o(
    description: H2ODescription, column_names: Sequence[str], column_means: NDArray[np.float64]
) -> Member:
    """Return a DRF, GBM or GLM classifier of H2O as a member.

    column_names: the features in the order of rows to come; column_means: [features] of the
    training rows, what a GLM puts in for missing values.

    Raises:
        UsageError: columns that are not numbers or no features, or training with options that
            change probabilities afterwards.
    """
    _check(description, set(column_names))
    columns = {name: number for number, name in enumerate(column_names)}
    has_two = len(description.labels) == 2
    scores = 1 if has_two else len(description.labels)
    model: Forest | LinearModel
    if description.algorithm == "glm":
        model = _linear(description, columns, column_means)
    else:
        trees = [_tree(tree, columns) for tree in description.trees]
        model = build_forest(trees, feature_count=len(columns), score_width=scores)
    is_mean = description.algorithm == "drf" and has_two
    return Member(
        model=model,
        link=_LINKS[description.algorithm][0 if has_two else 1],
        label_count=len(description.labels),
        initial=np.full(scores, description.initial if description.algorithm == "gbm" else 0.0),
        scale=1.0 / len(description.trees) if is_mean else 1.0,
        threshold=description.threshold if has_two else None,
        trainer="h2o",
    )


# For two labels, and for more. The trees of a DRF for two labels say how likely the first one is.
_LINKS = {
    "drf": ("first_share", "shares"),
    "gbm": ("logistic", "softmax"),
    "glm": ("logistic", "softmax"),
}


def _check(description: H2ODescription, known: set[str]) -> None:
    reasons = [f"reads column {name!r}, which holds categories" for name in description.categories]
    reasons += [
        f"reads column {name!r}, which is no feature"
        for name in description.columns
        if name not in known
    ]
    if description.is_balanced:
        reasons.append("was trained with balance_classes")
    if description.has_double_trees:
        reasons.append("was trained with binomial_double_trees")
    if reasons:
        raise UsageError(
            f"H2O model {description.model_id!r} {reasons[0]}; train it on the TF-IDF columns, as "
            "numbers, without these options"
        )


def _linear(
    description: H2ODescription, columns: Columns, column_means: NDArray[np.float64]
) -> LinearModel:
    coefficients = np.zeros((len(description.coefficients), len(columns)))
    intercepts = np.zeros(len(coefficients))
    for number, weights in enumerate(description.coefficients):
        for name, weight in weights.items():
            if name in columns:
                coefficients[number, columns[name]] = weight
            else:
                intercepts[number] = weight
    return LinearModel(coefficients=coefficients, intercepts=intercepts, fill=column_means)


def _tree(tree: H2OTreeArrays, columns: Columns) -> Tree:
    is_leaf = np.array(tree.left) == -1
    numbers = [LEAF if name is None else columns[name] for name in tree.features]
    return Tree(
        feature=np.where(is_leaf, LEAF, numbers).astype(np.int32),
        threshold=np.array(tree.thresholds, np.float32).astype(np.float64),
        left=np.array(tree.left, np.int32),
        right=np.array(tree.right, np.int32),
        missing_left=np.array([one == "LEFT" for one in tree.missing]),
        value=np.array(tree.predictions, np.float32).astype(np.float64)[:, np.newaxis],
        output=tree.output,
    )
