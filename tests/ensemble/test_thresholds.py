import numpy as np
import pytest

from ivme.ensemble.thresholds import best_f1_threshold
from ivme.errors import UsageError


def f1_at(threshold: float, probabilities: np.ndarray, is_second: np.ndarray) -> float:
    chosen = probabilities >= threshold
    return 2 * (chosen & is_second).sum() / (chosen.sum() + is_second.sum())


def test_no_other_threshold_gives_a_larger_f1():
    draw = np.random.RandomState(0)
    probabilities = draw.randint(0, 40, 300) / 40.0  # many are equal
    is_second = draw.rand(300) < probabilities
    found = best_f1_threshold(probabilities, is_second)
    best = max(f1_at(one, probabilities, is_second) for one in np.unique(probabilities))
    assert f1_at(found, probabilities, is_second) == best


def test_without_the_second_label_there_is_no_threshold():
    with pytest.raises(UsageError, match="no text of the validation has the second label"):
        best_f1_threshold(np.array([0.5]), np.array([False]))
