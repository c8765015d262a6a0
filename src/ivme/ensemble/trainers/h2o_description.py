"""What a model on an H2O cluster is, asked through its open client: H2OTree, coef(), its JSON.

The answers are plain numbers and texts, so they can be kept as JSON; h2o_export compiles them.
"""

from dataclasses import dataclass
from typing import Any

from ivme.errors import UsageError

ALGORITHMS = ("drf", "gbm", "glm")
CATEGORIES = ("Binomial", "Multinomial")


@dataclass(frozen=True, kw_only=True)
class H2OTreeArrays:
    """One tree, node 0 the root. left, right: the children of each node, -1 for none.

    features: column names; thresholds: NaN where missing values are parted from all others;
    missing: "LEFT", "RIGHT" or None; predictions: of each node, read at leaves. output: the number
    of the label that the tree is for.
    """

    left: list[int]
    right: list[int]
    features: list[str | None]
    thresholds: list[float]
    missing: list[str | None]
    predictions: list[float]
    output: int


@dataclass(frozen=True, kw_only=True)
class H2ODescription:
    """A classifier of H2O.

    columns: the names that it reads, in its order. categories: those among them that are no
    numbers. threshold: of the largest F1, on the second label. initial: init_f of a GBM. trees: of
    a DRF or GBM, tree after tree, label after label. coefficients: of a GLM, one mapping for two
    labels, one for each label otherwise.
    """

    model_id: str
    algorithm: str
    category: str
    labels: list[str]
    columns: list[str]
    categories: list[str]
    threshold: float
    initial: float
    is_balanced: bool
    has_double_trees: bool
    trees: list[H2OTreeArrays]
    coefficients: list[dict[str, float]]


def describe_h2o(model: Any) -> H2ODescription:
    """Return the description of a trained H2O estimator, one request for each tree.

    Raises:
        UsageError: not a classifier that can be compiled.
    """
    output = model._model_json["output"]
    category = output["model_category"]
    if model.algo not in ALGORITHMS or category not in CATEGORIES:
        raise UsageError(
            f"H2O model {model.model_id!r} is {model.algo!r} of category {category!r}; expected a "
            f"classifier, one of {list(ALGORITHMS)}"
        )
    *columns, _ = output["names"]
    *domains, labels = output["domains"]
    is_linear = model.algo == "glm"
    return H2ODescription(
        model_id=model.model_id,
        algorithm=model.algo,
        category=category,
        labels=list(labels),
        columns=columns,
        categories=[name for name, one in zip(columns, domains, strict=True) if one is not None],
        threshold=float(output["default_threshold"]),
        initial=float(output.get("init_f") or 0.0),
        is_balanced=bool(model.actual_params.get("balance_classes")),
        has_double_trees=bool(model.actual_params.get("binomial_double_trees")),
        trees=[] if is_linear else _trees(model, labels),
        coefficients=_coefficients(model, labels) if is_linear else [],
    )


def _trees(model: Any, labels: list[str]) -> list[H2OTreeArrays]:
    summary = model._model_json["output"]["model_summary"]
    outputs = [None] if len(labels) == 2 else labels
    return [
        _tree(model, number, label, output)
        for number in range(int(summary["number_of_trees"][0]))
        for output, label in enumerate(outputs)
    ]


def _tree(model: Any, number: int, label: str | None, output: int) -> H2OTreeArrays:
    from h2o.tree import H2OTree

    found = H2OTree(model, number, label, plain_language_rules=False)
    return H2OTreeArrays(
        left=found.left_children,
        right=found.right_children,
        features=found.features,
        thresholds=found.thresholds,
        missing=found.nas,
        predictions=found.predictions,
        output=output,
    )


def _coefficients(model: Any, labels: list[str]) -> list[dict[str, float]]:
    found = model.coef()
    return [found] if len(labels) == 2 else [found[f"coefs_class_{label}"] for label in labels]
