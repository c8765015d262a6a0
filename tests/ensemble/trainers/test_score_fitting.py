import numpy as np
import pytest
from styles import styled_texts

from ivme.ensemble.features import NgramSettings, features_from_json
from ivme.ensemble.learned_scores import LearnedScores
from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.trainers.score_fitting import fit_scores, fold_numbers, with_columns
from ivme.ensemble.trainers.tfidf_fitting import fit_features
from ivme.ensemble.training import number_labels

KINDS = (NgramSettings(), NgramSettings(splitting="char", shortest=2, longest=3))


def fitted(labels: tuple[str, ...]):
    texts, given = styled_texts(200, labels)
    _, numbers = number_labels(texts, given)
    features = fit_features(texts, KINDS, style_weight=0.1, is_normalized=True)
    rows = features.transform_batch(texts)
    folds = fold_numbers(np.arange(len(texts)), numbers)
    return texts, numbers, *fit_scores(features, rows, numbers, folds)


@pytest.mark.parametrize(("labels", "scores"), [(("a", "b"), 2), (("a", "b", "c"), 6)])
def test_each_kind_of_ngrams_has_scores_that_stand_last(labels, scores):
    named = tuple(zip(labels, ("human", "machine", "other"), strict=False))
    texts, _, features, rows = fitted(tuple(style for _, style in named))
    assert features.names[-scores:] == tuple(f"score:{number}" for number in range(scores))
    assert rows.feature_count == features.count
    assert features.transform(texts[0]).feature_count == features.count


def test_in_training_the_scores_are_those_of_models_that_did_not_see_the_text():
    texts, numbers, features, rows = fitted(("human", "machine"))
    unseen = rows.to_dense()[:, -1]
    seen = features.transform_batch(texts).to_dense()[:, -1]
    margin = np.where(numbers == 1, 1, -1)
    assert (seen * margin).mean() > (unseen * margin).mean() > 0


def test_scores_are_weighted_sums_of_the_ngrams():
    texts, _, features, _ = fitted(("human", "machine"))
    row = features.transform(texts[3]).to_dense()[0]
    weights = features.scores.weights[0].astype(np.float64)
    expected = weights @ row[: features.ngram_count] + features.scores.intercepts[0]
    assert row[-2] == pytest.approx(expected, abs=1e-12)


def test_features_with_style_and_scores_survive_json():
    texts, _, features, _ = fitted(("human", "machine"))
    again = features_from_json(features.to_json(), "features.json")
    assert again.content_hash == features.content_hash
    assert again.names == features.names
    for text in (*texts[:3], "", "\ud800"):
        assert np.array_equal(again.transform(text).to_dense(), features.transform(text).to_dense())


def test_texts_of_a_group_are_in_one_fold():
    groups = np.repeat(np.arange(40), 3)
    folds = fold_numbers(groups, np.arange(120) % 2)
    assert all(len(set(folds[groups == group])) == 1 for group in range(40))
    assert sorted(np.bincount(folds)) == [24] * 5


@pytest.mark.parametrize("others", [10, 100])
def test_each_label_is_spread_over_the_folds(others):
    numbers = np.repeat([0, 1, 2], [others, 2, 7])
    folds = fold_numbers(np.arange(len(numbers)), numbers)
    assert [len(set(folds[numbers == label])) for label in range(3)] == [5, 2, 5]


def test_a_group_of_two_labels_is_drawn_with_those_of_the_rarer_one():
    groups = np.repeat(np.arange(60), 2)
    numbers = np.tile([0, 1], 60)
    numbers[10:] = 0  # the second label is in the first five groups alone
    assert set(fold_numbers(groups, numbers)[numbers == 1]) == set(range(5))


def test_further_columns_stand_behind_the_others():
    dense = np.array([[0.0, 2.0], [0.0, 0.0], [3.0, 4.0]])
    further = np.array([[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]])
    found = with_columns(rows_from_dense(dense), further)
    assert np.array_equal(found.to_dense(), np.hstack([dense, further]))
    chosen = found.columns(np.array([1, 3], np.int32))
    assert np.array_equal(chosen.to_dense(), np.hstack([dense, further])[:, [1, 3]])


def test_scores_that_do_not_fit_together_are_refused():
    scores = LearnedScores(weights=np.ones((1, 3), np.float32), intercepts=np.zeros(1))
    with pytest.raises(ValueError, match="3 weights for 2 scores"):
        LearnedScores.from_values({**scores.to_values(), "intercepts": [0.0, 1.0]})
    with pytest.raises(ValueError, match="no number"):
        LearnedScores.from_values({**scores.to_values(), "intercepts": [float("nan")]})
