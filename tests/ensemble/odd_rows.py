"""Rows that a tree could get wrong, and the data that H2O's members of the tests are trained on.

The same numbers on every machine: they come from NumPy's frozen RandomState.
"""

from collections.abc import Iterable

import numpy as np

from ivme.ensemble.member import Member
from ivme.ensemble.trees import Forest

COLUMNS = tuple(
    f"word:{name}" for name in ("the", "the end", "çok", "中文", "don t", "x", "y", "z")
)
ROWS = 10_000
TABLE = 256  # different values in all rows


def training_rows(label_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 400 rows [400, 8] and the number of the label of each."""
    draw = np.random.RandomState(label_count)
    rows = np.where(draw.rand(400, len(COLUMNS)) < 0.5, draw.rand(400, len(COLUMNS)), 0.0)
    signal = rows[:, 0] * 2 + rows[:, 1] - rows[:, 2] + 0.3 * draw.randn(400)
    return np.round(rows, 6), np.digitize(signal, [0.3, 0.8][: label_count - 1])


def value_table(members: Iterable[Member]) -> np.ndarray:
    """Return values to make rows of, [TABLE]: zero, split points, their neighbors, others."""
    nodes = [member.model.nodes for member in members if isinstance(member.model, Forest)]
    splits = np.concatenate([one["threshold"][one["feature"] >= 0] for one in nodes])
    draw = np.random.RandomState(0)
    splits = draw.choice(splits[np.isfinite(splits)], 60, replace=False)
    near = [splits, np.nextafter(splits, 2), np.nextafter(splits, -2)]
    odd = [0.0, -0.0, 1e300, -1e300, 1e-310, 1.0, -1.0]
    values = np.concatenate([*near, odd])
    return np.concatenate([values, draw.rand(TABLE - len(values))])


def rows_of(values: np.ndarray) -> np.ndarray:
    """Return [ROWS, columns] of the values, a third of them zero, a tenth missing (NaN)."""
    draw = np.random.RandomState(1)
    shape = (ROWS, len(COLUMNS))
    rows = values[draw.randint(0, len(values), shape)]
    rows[draw.rand(*shape) < 0.3] = 0.0
    rows[draw.rand(*shape) < 0.1] = np.nan
    rows[:100] = 0.0  # a text of which no word was ever seen
    rows[100:200] = np.nan
    return rows
