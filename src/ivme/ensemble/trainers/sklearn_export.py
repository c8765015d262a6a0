"""Compiles models that scikit-learn trained. Reads their public and documented-by-use arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.linear import LinearModel
from ivme.ensemble.member import Member
from ivme.ensemble.trees import LEAF, Tree, build_forest


def compile_random_forest(model: Any) -> Member:
    """Return a RandomForestClassifier or ExtraTreesClassifier as a member: a mean of trees."""
    labels = len(model.classes_)
    forest = build_forest(
        [_classification_tree(estimator.tree_) for estimator in model.estimators_],
        feature_count=model.n_features_in_,
        score_width=labels,
        has_float_inputs=True,
    )
    return Member(
        model=forest,
        link="shares",
        label_count=labels,
        initial=np.zeros(labels),
        scale=1.0 / len(model.estimators_),
        trainer="sklearn",
    )


def compile_boosting(model: Any) -> Member:
    """Return a HistGradientBoostingClassifier, trained on numbers only, as a member."""
    trees = [
        _boosting_tree(predictor.nodes, output)
        for iteration in model._predictors
        for output, predictor in enumerate(iteration)
    ]
    initial = np.ravel(model._baseline_prediction).astype(np.float64)
    forest = build_forest(trees, feature_count=model.n_features_in_, score_width=len(initial))
    return Member(
        model=forest,
        link="logistic" if len(initial) == 1 else "softmax",
        label_count=len(model.classes_),
        initial=initial,
        trainer="sklearn",
    )


def compile_logistic_regression(model: Any) -> Member:
    """Return a LogisticRegression as a member; a missing value counts as zero."""
    coefficients = np.ascontiguousarray(model.coef_, np.float64)
    return Member(
        model=LinearModel(
            coefficients=coefficients,
            intercepts=np.array(model.intercept_, np.float64),
            fill=np.zeros(coefficients.shape[1]),
        ),
        link="logistic" if len(coefficients) == 1 else "softmax",
        label_count=len(model.classes_),
        initial=np.zeros(len(coefficients)),
        trainer="sklearn",
    )


def _classification_tree(tree: Any) -> Tree:
    is_leaf = tree.children_left == -1
    value = tree.value[:, 0, :]
    return Tree(
        feature=np.where(is_leaf, LEAF, tree.feature).astype(np.int32),
        threshold=_just_above(tree.threshold),
        left=tree.children_left.astype(np.int32),
        right=tree.children_right.astype(np.int32),
        missing_left=tree.missing_go_to_left.astype(bool),
        value=value / value.sum(axis=1, keepdims=True),
    )


def _boosting_tree(nodes: NDArray[Any], output: int) -> Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=np.where(is_leaf, LEAF, nodes["feature_idx"]).astype(np.int32),
        threshold=_just_above(nodes["num_threshold"]),
        left=nodes["left"].astype(np.int32),
        right=nodes["right"].astype(np.int32),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"].astype(np.float64)[:, np.newaxis],
        output=output,
    )


def _just_above(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return t' such that x >= t' is x > t: scikit-learn goes left where x <= t."""
    return np.nextafter(threshold.astype(np.float64), np.inf)
