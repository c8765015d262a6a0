import numpy as np
import pytest

from ivme.ensemble.stacking_fitting import fit_stacking
from ivme.ensemble.voting import check_voting, decide
from ivme.errors import UsageError


def tables(**rows: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array([row]) for name, row in rows.items()}


def chosen(**numbers: int) -> dict[str, np.ndarray]:
    return {name: np.array([number]) for name, number in numbers.items()}


def test_the_label_with_most_votes_wins_whatever_the_probabilities() -> None:
    verdict = decide(
        tables(a=[0.45, 0.55], b=[0.45, 0.55], c=[1.0, 0.0]),
        chosen(a=1, b=1, c=0),
        voting="majority",
        stacking=None,
    )
    assert (verdict.chosen[0], verdict.votes[0]) == (1, 2)
    assert verdict.confidence[0] == pytest.approx(2 / 3)
    assert verdict.probability[0] == pytest.approx([1.9 / 3, 1.1 / 3])


def test_a_tie_goes_to_the_larger_mean_probability_and_then_to_the_first() -> None:
    def winner(second: list[float]) -> int:
        found = decide(
            tables(a=[0.2, 0.8], b=second), chosen(a=1, b=0), voting="majority", stacking=None
        )
        return int(found.chosen[0])

    assert winner([0.7, 0.3]) == 1
    assert winner([0.9, 0.1]) == 0
    assert winner([0.8, 0.2]) == 0


def test_a_tie_of_two_labels_leaves_a_third_out_that_none_chose() -> None:
    found = decide(
        tables(a=[0.50, 0.05, 0.45], b=[0.05, 0.46, 0.49]),
        chosen(a=0, b=1),
        voting="majority",
        stacking=None,
    )
    assert found.chosen[0] == 0  # the third has the largest mean


def test_stacking_decides_by_its_own_probability_and_counts_who_agrees() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 2, 400)
    right = np.clip(0.5 + 0.4 * (2 * numbers - 1) + draw.normal(0, 0.1, 400), 0.01, 0.99)
    noise = draw.uniform(0.01, 0.99, 400)
    fitted = fit_stacking(
        {
            "good": np.stack([1 - right, right], axis=1),
            "noise": np.stack([1 - noise, noise], axis=1),
        },
        numbers,
        ("x", "y"),
    )
    found = decide(
        tables(good=[0.1, 0.9], noise=[0.95, 0.05]),
        chosen(good=1, noise=0),
        voting="stacking",
        stacking=fitted,
    )
    assert (found.chosen[0], found.votes[0]) == (1, 1)
    assert found.confidence[0] == found.probability[0, 1] > 0.5


def test_a_voting_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="voting='dice'; expected one of majority, stacking"):
        check_voting("dice", has_stacking=True)
    with pytest.raises(UsageError, match="this ensemble was trained without"):
        check_voting("stacking", has_stacking=False)
