from dataclasses import replace

import numpy as np
import pytest

from ivme.ensemble.linear import LinearModel
from ivme.ensemble.member import Member
from ivme.ensemble.rows import rows_from_dense
from ivme.errors import UsageError

ROWS = rows_from_dense([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])


def linear_member(scores: int, of_link: str, **changes: object) -> Member:
    model = LinearModel(
        coefficients=np.array([[1.0, -1.0], [0.5, 0.25], [0.0, 1.0]])[:scores],
        intercepts=np.array([0.25, 0.0, 0.5])[:scores],
        fill=np.array([10.0, 20.0]),
    )
    member = Member(model=model, link=of_link, label_count=max(scores, 2), initial=np.zeros(scores))
    return replace(member, **changes)  # type: ignore[arg-type]


def test_a_missing_value_counts_as_the_mean_in_training():
    scores = linear_member(1, "logistic").model.scores(ROWS)
    assert scores.tolist() == [[1.25], [-1.75], [0.25], [9.25]]


def test_one_row_scores_as_it_does_among_others():
    model = linear_member(3, "softmax").model
    alone = np.vstack([model.scores(ROWS.part(row, row + 1)) for row in range(len(ROWS))])
    assert np.allclose(alone, model.scores(ROWS), rtol=0, atol=1e-15)


def test_links_turn_scores_into_probabilities_that_add_up_to_one():
    for scores, link in ((1, "logistic"), (1, "first_share"), (3, "softmax"), (3, "shares")):
        probabilities = linear_member(scores, link).probabilities(ROWS)
        assert probabilities.shape == (4, max(scores, 2))
        if link != "shares":  # shares of negative scores are none
            assert np.allclose(probabilities.sum(axis=1), 1.0, rtol=0, atol=1e-15)


def test_a_score_beyond_every_exponent_is_certainty():
    member = linear_member(1, "logistic", scale=1e6)
    assert member.probabilities(ROWS)[:2].tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_shares_of_nothing_stay_zero():
    member = linear_member(3, "shares", scale=0.0)
    assert member.probabilities(ROWS).tolist() == [[0.0] * 3] * 4


def test_the_threshold_itself_chooses_the_second_label():
    member = linear_member(1, "logistic", threshold=0.75)
    probabilities = np.array([[0.25, 0.75], [0.2500001, 0.7499999], [0.0, 1.0]])
    assert member.decide(probabilities).tolist() == [1, 0, 1]


def test_without_a_threshold_the_likeliest_label_is_chosen_and_the_first_of_equals():
    member = linear_member(3, "softmax")
    probabilities = np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    assert member.decide(probabilities).tolist() == [2, 0]


def test_rows_of_other_features_are_refused():
    with pytest.raises(UsageError, match="rows of 3 features; this member was trained on 2"):
        linear_member(1, "logistic").probabilities(rows_from_dense(np.ones((1, 3))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"link": "probit"}, "link='probit'; expected one of"),
        ({"label_count": 3}, "link='logistic' for 3 labels"),
        ({"link": "softmax"}, "expected 2 for link='softmax'"),
        ({"initial": np.zeros(2)}, "1 scores and 2 initial values"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"scale": float("inf")}, "not finite"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        linear_member(1, "logistic", **changes).check()
