"""A compiled linear model: one coefficient for each class and feature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.rows import FeatureRows
from ivme.errors import UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearModel:
    """coefficients: float64 [scores, features]; intercepts: float64 [scores].

    fill: float64 [features], what stands in for a missing value (NaN): the mean in training.
    """

    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    fill: NDArray[np.float64]

    @property
    def feature_count(self) -> int:
        """The number of columns that it reads."""
        return self.coefficients.shape[1]

    @property
    def score_width(self) -> int:
        """The number of scores of a row."""
        return len(self.intercepts)

    def reading(self, columns: NDArray[np.int32], feature_count: int) -> "LinearModel":
        """Return the model for rows of `feature_count` features; it reads those in `columns`."""
        coefficients = np.zeros((self.score_width, feature_count))
        coefficients[:, columns] = self.coefficients
        fill = np.zeros(feature_count)
        fill[columns] = self.fill
        return LinearModel(coefficients=coefficients, intercepts=self.intercepts, fill=fill)

    def scores(self, rows: FeatureRows, threads: int = 1) -> NDArray[np.float64]:
        """Return intercept and weighted sum of each row, [rows, scores]; on one thread always."""
        values = rows.values
        is_missing = np.isnan(values)
        if is_missing.any():
            values = np.where(is_missing, self.fill[rows.indices], values)
        weighted = self.coefficients[:, rows.indices] * values
        if len(rows) == 1:
            return (self.intercepts + weighted.sum(axis=1))[np.newaxis]
        numbers = rows.row_numbers()
        sums = [np.bincount(numbers, part, minlength=len(rows)) for part in weighted]
        return self.intercepts + np.stack(sums, axis=1)

    def check(self) -> None:
        """Raise UsageError unless the arrays fit together and are finite."""
        arrays = (self.coefficients, self.intercepts, self.fill)
        shape = (len(self.intercepts), len(self.fill))
        if self.coefficients.shape != shape or not all(np.isfinite(part).all() for part in arrays):
            raise UsageError(
                f"coefficients of shape {self.coefficients.shape} for {shape[0]} scores of "
                f"{shape[1]} features, or a number that is not finite"
            )
