"""A member: a compiled model, and how its scores become probabilities and a label."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.linear import LinearModel
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.trees import Forest
from ivme.errors import UsageError

# Scores to probabilities: one score of the second of two labels; one score for each label; shares
# for each label that are made to add up to 1; the share of the first of two labels.
LINKS = ("logistic", "softmax", "shares", "first_share")


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A model bound to its features.

    initial: float64 [scores], added after the scores are multiplied by `scale`. threshold: with two
    labels, the least probability of the second at which it is chosen; None chooses the likeliest.
    features_hash: TfidfFeatures.content_hash of the features that it was trained on.
    """

    model: Forest | LinearModel
    link: str
    label_count: int
    initial: NDArray[np.float64]
    scale: float = 1.0
    threshold: float | None = None
    features_hash: str = ""
    trainer: str = ""

    def reading(self, columns: NDArray[np.int32], feature_count: int) -> "Member":
        """Return the member for rows of `feature_count` features; it reads those in `columns`."""
        return replace(self, model=self.model.reading(columns, feature_count))

    def probabilities(self, rows: FeatureRows, threads: int = 1) -> NDArray[np.float64]:
        """Return the probability of each label, [rows, labels].

        Raises:
            UsageError: rows of another number of features.
        """
        if rows.feature_count != self.model.feature_count:
            raise UsageError(
                f"rows of {rows.feature_count} features; this member was trained on "
                f"{self.model.feature_count}: give the rows that its own features make"
            )
        scores = self.model.scores(rows, threads) * self.scale + self.initial
        return _LINKED_BY[self.link](scores)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the number of the label chosen in each row of probabilities [rows, labels]."""
        if self.threshold is None:
            return probabilities.argmax(axis=1)
        return (probabilities[:, 1] >= self.threshold).astype(np.intp)

    def check(self) -> None:
        """Raise UsageError unless link, labels, threshold and model fit together."""
        if self.link not in LINKS:
            raise UsageError(f"link={self.link!r}; expected one of {list(LINKS)}")
        is_for_two = self.link in ("logistic", "first_share")
        expected_width = 1 if is_for_two else self.label_count
        if self.label_count < 2 or (is_for_two and self.label_count != 2):
            raise UsageError(f"link={self.link!r} for {self.label_count} labels")
        if self.model.score_width != expected_width or self.initial.shape != (expected_width,):
            raise UsageError(
                f"{self.model.score_width} scores and {self.initial.size} initial values; "
                f"expected {expected_width} for link={self.link!r}, {self.label_count} labels"
            )
        if self.threshold is not None and (self.label_count != 2 or not 0 <= self.threshold <= 1):
            raise UsageError(f"threshold={self.threshold!r} for {self.label_count} labels")
        if not np.isfinite([self.scale, *self.initial]).all():
            raise UsageError(f"scale={self.scale!r}, initial={self.initial.tolist()!r}: not finite")
        self.model.check()


def _logistic(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # exp overflows to infinity, and the probability is 0
        second = 1.0 / (1.0 + np.exp(-scores[:, 0]))
    return np.stack([1.0 - second, second], axis=1)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    total = scores.sum(axis=1, keepdims=True)
    return scores / np.where(total > 0, total, 1.0)


def _first_share(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([scores[:, 0], 1.0 - scores[:, 0]], axis=1)


_LINKED_BY = {
    "logistic": _logistic,
    "softmax": _softmax,
    "shares": _shares,
    "first_share": _first_share,
}
