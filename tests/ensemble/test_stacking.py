import json

import numpy as np
import pytest

from ivme.ensemble.stacking import (
    SMALLEST,
    Stacking,
    log_odds,
    softmax,
    stacking_from_json,
    subsets,
)
from ivme.ensemble.stacking_fitting import fit_stacking, threshold_at
from ivme.errors import UsageError

LABELS = ("human", "machine")


def made_up(count: int, skills: dict[str, float], labels: int = 2, seed: int = 0):
    """Return probabilities of members that know the truth more or less well, and the truth."""
    draw = np.random.RandomState(seed)
    truth = draw.randint(labels, size=count)
    tables = {}
    for name, skill in skills.items():
        scores = draw.randn(count, labels)
        scores[np.arange(count), truth] += skill
        tables[name] = softmax(2.0 * scores)  # overconfident
    return tables, truth


@pytest.fixture(scope="module")
def fitted() -> Stacking:
    return fit_stacking(*made_up(1000, {"BERT": 2.0, "DRF": 1.5, "GLM": 0.0}), LABELS)


def log_loss(shares, truth):
    return -np.log(shares[np.arange(len(truth)), truth]).mean()


def test_the_combination_is_better_than_each_member_and_calibrated(fitted):
    tables, truth = made_up(2000, {"BERT": 2.0, "DRF": 1.5, "GLM": 0.0}, seed=1)
    combined = fitted.combine(tables)
    losses = {name: log_loss(table, truth) for name, table in tables.items()}
    assert log_loss(combined, truth) < 0.8 * min(losses.values())
    sure = combined[:, 1] > 0.8
    # 2000 texts: the share of a bin is known to about 0.03
    assert abs(combined[sure, 1].mean() - (truth[sure] == 1).mean()) < 0.05


def test_a_member_that_knows_nothing_gets_nearly_no_weight(fitted):
    weights = fitted.weights_of(fitted.members)
    assert weights["GLM"] < 0.05 < weights["DRF"] < weights["BERT"]


def test_missing_members_change_the_weights_of_those_that_share_their_mistakes():
    def alike(seed):
        tables, truth = made_up(1000, {"one": 1.5}, seed=seed)
        draw, logs = np.random.RandomState(seed + 100), np.log(tables["one"])
        return {name: softmax(logs + draw.randn(1000, 2)) for name in "abcd"}, truth

    fitted = fit_stacking(*alike(seed=0), LABELS)
    tables, truth = alike(seed=1)
    alone = fitted.combine({"a": tables["a"]})
    whole = fitted.pool_of("abcd")
    with_old_weight = softmax(whole.weights[0] * log_odds(tables["a"]) / whole.temperature)
    assert log_loss(alone, truth) < 0.9 * log_loss(with_old_weight, truth)


def test_one_text_and_many_are_combined_alike_in_any_order_of_members(fitted):
    tables, _ = made_up(5, {"BERT": 2.0, "DRF": 1.5})
    together = fitted.combine(tables)
    single = fitted.combine({name: tables[name][3] for name in ("DRF", "BERT")})
    assert single.shape == (2,)
    assert np.allclose(single, together[3], atol=1e-15)


def test_more_than_two_labels_are_combined():
    labels = ("a", "b", "c")
    tables, truth = made_up(600, {"BERT": 2.0, "GLM": 1.5}, labels=3)
    fitted = fit_stacking(tables, truth, labels)
    others, true = made_up(600, {"BERT": 2.0, "GLM": 1.5}, labels=3, seed=1)
    combined = fitted.combine(others)
    assert np.allclose(combined.sum(axis=1), 1)
    best = max((table.argmax(axis=1) == true).mean() for table in others.values())
    assert (combined.argmax(axis=1) == true).mean() > best
    assert set(fitted.pool_of(tables).thresholds) == set(labels)


def test_thresholds_hold_the_false_positives_on_other_texts(fitted):
    tables, truth = made_up(20000, {"BERT": 2.0, "DRF": 1.5, "GLM": 0.0}, seed=3)
    combined = fitted.combine(tables)
    for number, label in enumerate(LABELS):
        reached = fitted.pool_of(tables).thresholds[label]
        false = combined[truth != number, number]
        assert reached["0.05"] < reached["0.01"]
        # found on about 500 texts: 5% is known to about 1%, 1% to about 0.5%
        assert 0.02 < (false >= reached["0.05"]).mean() < 0.08
        assert (false >= reached["0.01"]).mean() < 0.03


def test_the_threshold_of_a_member_whose_scores_end_in_a_plateau_is_within_its_reach():
    draw = np.random.RandomState(0)
    truth = draw.randint(2, size=500)
    second = np.minimum(0.5 + 0.4 * (truth - 0.5) + 0.2 * draw.randn(500), 0.8)
    second[truth == 0] = np.minimum(second[truth == 0], 0.79)
    tables = {"BERT": np.stack([1 - second, second], axis=1).clip(0.01, 0.99)}
    fitted = fit_stacking(tables, truth, LABELS)
    shares = fitted.combine(tables)[:, 1]
    threshold = fitted.pools["BERT"].thresholds["machine"]["0.01"]
    assert (shares[truth == 1] >= threshold).mean() > 0.2
    assert (shares[truth == 0] >= threshold).mean() <= 0.01


def test_certain_members_are_held_within_limits(fitted):
    certain = {"BERT": np.array([0.0, 1.0]), "DRF": np.array([1.0, 0.0])}
    combined = fitted.combine(certain)
    assert np.isfinite(combined).all()
    same = {"BERT": np.array([SMALLEST, 1 - SMALLEST]), "DRF": np.array([1 - SMALLEST, SMALLEST])}
    assert np.array_equal(combined, fitted.combine(same))


def test_json_gives_back_the_same_answers(fitted):
    read = stacking_from_json(json.loads(json.dumps(fitted.to_json())), "ensemble.json")
    tables, _ = made_up(10, {"BERT": 2.0, "DRF": 1.5, "GLM": 0.0})
    assert np.array_equal(read.combine(tables), fitted.combine(tables))
    assert read.pool_of(["DRF"]).thresholds == fitted.pool_of(["DRF"]).thresholds
    assert read.facts["texts"] == 1000


@pytest.mark.parametrize("part", ["weights", "biases", "temperature", "thresholds"])
def test_damaged_json_is_refused(fitted, part):
    content = fitted.to_json()
    content["pools"]["BERT"] = {**content["pools"]["BERT"], part: []}
    with pytest.raises(UsageError, match=r"ensemble\.json: its stacking is damaged"):
        stacking_from_json(content, "ensemble.json")


def test_a_stacking_without_all_pools_is_refused(fitted):
    content = fitted.to_json()
    del content["pools"]["BERT+GLM"]
    with pytest.raises(UsageError, match="6 pools for 3 members"):
        stacking_from_json(content, "ensemble.json")


def test_members_that_are_not_known_or_none_at_all_are_refused(fitted):
    with pytest.raises(UsageError, match="members XGB to combine; expected some of BERT, DRF, GLM"):
        fitted.combine({"XGB": np.array([0.5, 0.5])})
    with pytest.raises(UsageError, match="members none to combine"):
        fitted.combine({})


def test_data_that_cannot_be_combined_is_refused():
    tables, truth = made_up(100, {"BERT": 1.0})
    few = np.zeros_like(truth)
    few[:3] = 1
    with pytest.raises(UsageError, match="3 held-out texts of the label 'machine'"):
        fit_stacking(tables, few, LABELS)
    with pytest.raises(UsageError, match=r"probabilities of BERT are \(100, 2\); expected \(50"):
        fit_stacking(tables, truth[:50], LABELS)
    with pytest.raises(UsageError, match="9 members to combine; expected 1 to 8"):
        fit_stacking(dict.fromkeys("abcdefghi", tables["BERT"]), truth, LABELS)


def test_the_threshold_lets_no_more_through_than_the_rate():
    scores = np.linspace(0.0, 1.0, 101)
    assert (scores >= threshold_at(scores, 0.05)).sum() == 5
    assert (scores >= threshold_at(scores, 0.0)).sum() == 0
    assert threshold_at(scores, 1.0) == 0.0
    equal = np.full(100, 0.5)
    assert (equal >= threshold_at(equal, 0.05)).sum() == 0


def test_subsets_are_all_but_the_empty_one():
    assert subsets(("a", "b")) == [("a",), ("b",), ("a", "b")]
    assert len(subsets(tuple("abcde"))) == 31
