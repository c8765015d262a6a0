"""Trains DRF, GBM and GLM by scikit-learn, in this process, and compiles them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.member import Member
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.trainers.settings import MemberSettings
from ivme.ensemble.trainers.sklearn_export import (
    compile_boosting,
    compile_logistic_regression,
    compile_random_forest,
)
from ivme.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DENSE_LIMIT_BYTES = 8 * 2**30  # boosting by histograms takes dense float64 rows


class SklearnTrainer:
    """Trains one member after the other on the same rows."""

    def __init__(self, settings: MemberSettings) -> None:
        """settings: sizes and penalties of the members, and the seed."""
        self.settings = settings

    def train(self, name: str, rows: FeatureRows, label_numbers: NDArray[np.intp]) -> Member:
        """Return the member of that name ("DRF", "GBM" or "GLM"), trained and compiled.

        Raises:
            UsageError: too many rows for boosting by scikit-learn.
        """
        return {"DRF": self._forest, "GBM": self._boosting, "GLM": self._linear}[name](
            rows, label_numbers
        )

    def _forest(self, rows: FeatureRows, label_numbers: NDArray[np.intp]) -> Member:
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(
            n_estimators=self.settings.forest_trees,
            max_depth=self.settings.forest_depth,
            n_jobs=self.settings.threads,
            random_state=self.settings.seed,
        )
        return compile_random_forest(model.fit(as_csr(rows), label_numbers))

    def _boosting(self, rows: FeatureRows, label_numbers: NDArray[np.intp]) -> Member:
        from sklearn.ensemble import HistGradientBoostingClassifier

        needed = len(rows) * rows.feature_count * 8
        if needed > DENSE_LIMIT_BYTES:
            raise UsageError(
                f"boosting by scikit-learn needs {needed / 1e9:.0f} GB for {len(rows)} texts of "
                f"{rows.feature_count} features, more than {DENSE_LIMIT_BYTES / 1e9:.0f} GB: give "
                "fewer texts or features, or trainer='h2o'"
            )
        model = HistGradientBoostingClassifier(
            max_iter=self.settings.boosting_trees,
            max_depth=self.settings.boosting_depth,
            learning_rate=self.settings.learning_rate,
            early_stopping=False,
            random_state=self.settings.seed,
        )
        return compile_boosting(self._limited(model.fit, rows.to_dense(), label_numbers))

    def _linear(self, rows: FeatureRows, label_numbers: NDArray[np.intp]) -> Member:
        from sklearn.linear_model import LogisticRegression

        has_l1 = self.settings.l1_share > 0
        model = LogisticRegression(
            C=1.0 / self.settings.penalty,
            l1_ratio=self.settings.l1_share,
            solver="saga" if has_l1 else "lbfgs",  # the faster one cannot have absolute values
            max_iter=1000,
            tol=1e-3,
            random_state=self.settings.seed,
        )
        return compile_logistic_regression(model.fit(as_csr(rows), label_numbers))

    def _limited(self, fit: Callable[..., Any], *arguments: Any) -> Any:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(self.settings.threads):
            return fit(*arguments)


def as_csr(rows: FeatureRows) -> "csr_array":
    """Return the rows as scikit-learn takes them."""
    from scipy.sparse import csr_array

    shape = (len(rows), rows.feature_count)
    return csr_array((rows.values, rows.indices, rows.starts.astype(np.int32)), shape=shape)
