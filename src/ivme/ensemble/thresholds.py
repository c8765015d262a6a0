"""Choosing the threshold above which the second of two labels is given."""

import numpy as np
from numpy.typing import NDArray

from ivme.errors import UsageError


def best_f1_threshold(probabilities: NDArray[np.float64], is_second: NDArray[np.bool_]) -> float:
    """Return the probability from which on choosing the second label gives the largest F1.

    probabilities: of the second label, [texts]; is_second: whether it is right, [texts]. Of equal
    ones the greatest threshold is taken.

    Raises:
        UsageError: no text has the second label.
    """
    if not is_second.any():
        raise UsageError("no text of the validation has the second label; give some that have")
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    hits = np.cumsum(is_second[order])
    chosen = np.arange(1, len(ordered) + 1)
    f1 = 2 * hits / (chosen + is_second.sum())
    is_last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    return float(ordered[np.where(is_last_of_equals, f1, -1.0).argmax()])
