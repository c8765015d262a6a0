"""Rows of features, most of them zero: the one form that features take between text and members."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ivme.errors import UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureRows:
    """Sparse rows: row r has values[starts[r]:starts[r + 1]] at the columns in `indices` there.

    starts: int64 [rows + 1]; indices: int32 [stored], rising inside a row; values: float64
    [stored], NaN where a value is missing. What is not stored is zero.
    """

    starts: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float64]
    feature_count: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def part(self, first: int, end: int) -> "FeatureRows":
        """Return the rows from `first` up to `end`, without copying indices and values."""
        low, high = self.starts[first], self.starts[end]
        return FeatureRows(
            starts=self.starts[first : end + 1] - low,
            indices=self.indices[low:high],
            values=self.values[low:high],
            feature_count=self.feature_count,
        )

    def columns(self, chosen: NDArray[np.int32]) -> "FeatureRows":
        """Return the rows with the chosen columns alone, which rise, numbered anew from 0."""
        place = np.full(self.feature_count, -1, np.int32)
        place[chosen] = np.arange(len(chosen), dtype=np.int32)
        indices = place[self.indices]
        is_kept = indices >= 0
        kept_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_kept)])
        return FeatureRows(
            starts=kept_before[self.starts],
            indices=indices[is_kept],
            values=self.values[is_kept],
            feature_count=len(chosen),
        )

    def row_numbers(self) -> NDArray[np.int64]:
        """Return the row of each stored value, [stored]."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def to_dense(self) -> NDArray[np.float64]:
        """Return the rows as one float64 array [rows, feature_count]."""
        dense = np.zeros((len(self), self.feature_count))
        dense[self.row_numbers(), self.indices] = self.values
        return dense


def rows_from_dense(features: ArrayLike) -> FeatureRows:
    """Return float64 features [rows, columns] as sparse rows; NaN stays, as missing.

    Raises:
        UsageError: the features have not two dimensions.
    """
    dense = np.asarray(features, dtype=np.float64)
    if dense.ndim != 2:
        raise UsageError(
            f"features have shape {dense.shape}; expected [rows, columns]: give one row as [row]"
        )
    rows, columns = np.nonzero(dense)
    return FeatureRows(
        starts=np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int64),
        indices=columns.astype(np.int32),
        values=dense[rows, columns],
        feature_count=dense.shape[1],
    )


def join_rows(parts: "list[FeatureRows]", feature_count: int) -> FeatureRows:
    """Return the rows of all parts below each other."""
    lengths = [np.diff(part.starts) for part in parts]
    stored = np.concatenate([np.zeros(1, np.int64), *lengths])
    return FeatureRows(
        starts=np.cumsum(stored),
        indices=np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)]),
        values=np.concatenate([np.empty(0), *(part.values for part in parts)]),
        feature_count=feature_count,
    )
