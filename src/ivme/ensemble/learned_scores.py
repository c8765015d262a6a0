"""Scores that linear models give the n-grams of a text, as columns for other members.

A tree looks at one n-gram at a time; a score adds up thousands.
"""

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedScores:
    """weights: float32 [scores, n-grams]; intercepts: float64 [scores]."""

    weights: NDArray[np.float32]
    intercepts: NDArray[np.float64]

    @property
    def count(self) -> int:
        """The number of scores."""
        return len(self.intercepts)

    @property
    def ngram_count(self) -> int:
        """The number of n-grams that are added up."""
        return self.weights.shape[1]

    @cached_property
    def _by_ngram(self) -> NDArray[np.float64]:
        """What an n-gram adds to each score stands together: one look for all of it."""
        return np.ascontiguousarray(self.weights.T, np.float64)

    def of_row(
        self, columns: NDArray[np.int32], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the scores of a text with these n-grams, [scores]."""
        return weights @ self._by_ngram.take(columns, axis=0) + self.intercepts

    def to_values(self) -> dict[str, Any]:
        """Return the scores as JSON takes them."""
        packed = base64.b64encode(self.weights.astype("<f4").tobytes()).decode()
        return {"weights": packed, "intercepts": self.intercepts.tolist()}

    @staticmethod
    def from_values(values: dict[str, Any]) -> "LearnedScores":
        """Return what `to_values` wrote; raises ValueError where parts do not fit."""
        intercepts = np.array(values["intercepts"], np.float64)
        weights = np.frombuffer(base64.b64decode(values["weights"], validate=True), "<f4")
        if intercepts.ndim != 1 or not len(intercepts) or len(weights) % len(intercepts):
            raise ValueError(f"{weights.size} weights for {intercepts.size} scores")
        if not (np.isfinite(weights).all() and np.isfinite(intercepts).all()):
            raise ValueError("a weight of a score that is no number")
        weights = weights.reshape(len(intercepts), -1).astype(np.float32)
        return LearnedScores(weights=weights, intercepts=intercepts)
