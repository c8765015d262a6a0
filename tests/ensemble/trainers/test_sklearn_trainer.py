from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ivme.ensemble.member import Member
from ivme.ensemble.rows import FeatureRows, rows_from_dense
from ivme.ensemble.trainers import sklearn_trainer
from ivme.ensemble.trainers.settings import MemberSettings
from ivme.ensemble.trainers.sklearn_export import (
    compile_boosting,
    compile_logistic_regression,
    compile_random_forest,
)
from ivme.ensemble.trainers.sklearn_trainer import SklearnTrainer, as_csr
from ivme.errors import UsageError

FEATURES = 12
TOLERANCE = 1e-6  # what a person may rely on; the differences are near 1e-15


def training_data(labels: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.RandomState(labels)
    rows = np.where(draw.rand(400, FEATURES) < 0.4, draw.rand(400, FEATURES), 0.0)
    signal = rows[:, 0] * 2 + rows[:, 1] - rows[:, 2] + 0.2 * draw.randn(400)
    return rows, np.digitize(signal, [0.3, 0.8][: labels - 1])


def odd_rows(thresholds: np.ndarray, has_missing: bool) -> np.ndarray:
    """10,000 rows of zeros, thresholds and their neighbors, other numbers, missing values."""
    draw = np.random.RandomState(7)
    values = np.concatenate([thresholds, np.nextafter(thresholds, 2), np.nextafter(thresholds, -2)])
    rows = np.where(
        draw.rand(10_000, FEATURES) < 0.5,
        draw.choice(values, (10_000, FEATURES)),
        draw.rand(10_000, FEATURES),
    )
    rows[draw.rand(*rows.shape) < 0.3] = 0.0
    if has_missing:
        rows[draw.rand(*rows.shape) < 0.1] = np.nan
    return rows


def random_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, random_state=0)


def extra_trees() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(20, max_depth=6, random_state=0)


def boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=20, early_stopping=False)


def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize(
    ("make", "compile_model"),
    [
        (random_forest, compile_random_forest),
        (extra_trees, compile_random_forest),
        (boosting, compile_boosting),
        (logistic, compile_logistic_regression),
    ],
)
def test_compiled_members_answer_as_scikit_learn_does(
    make: Callable[[], Any], compile_model: Callable[[Any], Member], labels: int
):
    rows, numbers = training_data(labels)
    model = make().fit(rows, numbers)
    member = compile_model(model)
    member.check()
    is_linear = make is logistic
    nodes = None if is_linear else member.model.nodes
    thresholds = rows.ravel() if nodes is None else nodes["threshold"][nodes["feature"] >= 0]
    asked = odd_rows(thresholds, has_missing=not is_linear)
    expected = model.predict_proba(asked)
    found = member.probabilities(rows_from_dense(asked))
    assert np.abs(found - expected).max() <= TOLERANCE
    # Where two labels are as likely as each other to the last bits, either is right.
    top = np.sort(expected, axis=1)
    is_clear = top[:, -1] - top[:, -2] > 1e-12
    assert np.array_equal(member.decide(found)[is_clear], model.predict(asked)[is_clear])
    assert is_clear.mean() > 0.9


def small_rows() -> tuple[FeatureRows, np.ndarray]:
    dense, numbers = training_data(2)
    return rows_from_dense(dense), numbers


def test_members_are_trained_alike_from_the_same_seed():
    rows, numbers = small_rows()
    settings = MemberSettings(forest_trees=5, boosting_trees=5)
    for name in ("DRF", "GBM", "GLM"):
        first, second = (
            SklearnTrainer(settings).train(name, rows, numbers).probabilities(rows)
            for _ in range(2)
        )
        assert np.array_equal(first, second)


def test_sizes_are_those_asked_for():
    rows, numbers = small_rows()
    settings = MemberSettings(forest_trees=3, forest_depth=1, boosting_trees=4)
    assert len(SklearnTrainer(settings).train("DRF", rows, numbers).model.nodes) == 9
    assert len(SklearnTrainer(settings).train("GBM", rows, numbers).model.roots) == 4


def test_more_rows_than_boosting_can_hold_are_refused(monkeypatch):
    rows, numbers = small_rows()
    monkeypatch.setattr(sklearn_trainer, "DENSE_LIMIT_BYTES", 1000)
    with pytest.raises(UsageError, match="for 400 texts of 12 features"):
        SklearnTrainer(MemberSettings()).train("GBM", rows, numbers)


def test_sparse_rows_go_to_scikit_learn_as_they_are():
    rows, _ = small_rows()
    assert np.array_equal(as_csr(rows).toarray(), rows.to_dense())
    assert as_csr(replace(rows, feature_count=20)).shape == (400, 20)
