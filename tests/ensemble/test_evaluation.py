import dataclasses

import numpy as np
import pytest

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.evaluation import MAJORITY, STACKING, evaluate, length_groups, majority
from ivme.ensemble.evaluation_record import evaluation_record
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.stacking_fitting import fit_stacking
from ivme.ensemble.words import count_words
from ivme.errors import UsageError
from ivme.measure.records import load_record, save_record


@pytest.fixture(scope="module")
def data() -> LabeledTexts:
    from styles import styled_texts

    texts, labels = styled_texts(60, ("human", "machine"), seed=7)
    return LabeledTexts(texts=tuple(texts), labels=tuple(labels), source="here/texts.csv")


@pytest.fixture(scope="module")
def ensemble(small_ensemble, data) -> EnsembleFolder:
    """The small ensemble with a stacking that is fitted to the very texts."""
    plain = EnsembleFolder.read(small_ensemble)
    tables = {}
    for name in plain.group_names:
        group = plain.open_group(name)
        tables |= group.score_batch(data.texts)
        group.close()
    stacking = fit_stacking(tables, data.numbers(plain.labels), plain.labels)
    return dataclasses.replace(plain, stacking=stacking)


@pytest.fixture(scope="module")
def found(ensemble, data):
    domains = ["letters" if number % 3 else "reports" for number in range(len(data))]
    told = []
    return evaluate(ensemble, data, domains, progress=told.append), told


def test_every_member_and_both_combinations_are_judged(found, ensemble):
    evaluation, told = found
    names = [one.judge.name for one in evaluation.verdicts]
    assert names == [*ensemble.member_names, MAJORITY, STACKING]
    assert "Loading BERT..." in told
    assert "Running BERT... 0 of 60" in told
    stacked = evaluation.verdicts[-1].figures
    assert stacked["auroc"].value > 0.8
    assert stacked["fpr_at_0.05"].value <= 0.15
    assert "tpr_at_0.01" not in evaluation.verdicts[-2].figures  # votes have no threshold


def test_texts_are_told_apart_by_domain_and_length(found, data):
    evaluation, _ = found
    assert list(evaluation.domains) == ["letters", "reports"]  # the larger one first
    assert sum(evaluation.lengths.values()) == len(data)
    verdict = evaluation.verdicts[-1]
    assert set(verdict.by_domain) == {"letters", "reports"}
    right = verdict.by_domain["letters"]["accuracy"].value * evaluation.domains["letters"]
    right += verdict.by_domain["reports"]["accuracy"].value * evaluation.domains["reports"]
    assert right / len(data) == pytest.approx(verdict.figures["accuracy"].value)


def test_thresholds_are_those_of_the_folder(found, ensemble, data):
    evaluation, _ = found
    member = evaluation.verdicts[ensemble.member_names.index("GLM")]
    pool = ensemble.stacking.pool_of(["GLM"])
    calibrated = ensemble.stacking.combine({"GLM": member.judge.probabilities})[:, 0]
    expected = calibrated >= pool.thresholds["human"]["0.05"]
    assert (member.judge.found["0.05"] == expected).all()


def test_without_stacking_nothing_is_counted_at_thresholds(small_ensemble, data):
    evaluation = evaluate(EnsembleFolder.read(small_ensemble), data, positive="machine")
    assert evaluation.positive == "machine"
    assert [one.judge.name for one in evaluation.verdicts][-1] == MAJORITY
    assert all("tpr_at_0.01" not in one.figures for one in evaluation.verdicts)
    assert "No thresholds were fixed in training" in evaluation.notes[-1]


def test_short_texts_are_counted_and_said(small_ensemble):
    data = LabeledTexts(texts=("of", "moreover crucial"), labels=("human", "machine"))
    evaluation = evaluate(EnsembleFolder.read(small_ensemble), data)
    assert "2 of 2 texts have fewer than 5 words" in evaluation.notes[0]


def test_strange_labels_are_refused(small_ensemble, data):
    ensemble = EnsembleFolder.read(small_ensemble)
    strange = LabeledTexts(texts=("a", "b"), labels=("human", "robot"))
    with pytest.raises(UsageError, match="label 'robot' is none of those in training"):
        evaluate(ensemble, strange)
    with pytest.raises(UsageError, match="positive label 'robot'; expected one of human, machine"):
        evaluate(ensemble, data, positive="robot")
    with pytest.raises(UsageError, match="60 different values; at most 40 are told apart"):
        evaluate(ensemble, data, [str(number) for number in range(60)])


def test_the_record_keeps_every_score_and_reads_back(found, tmp_path):
    evaluation, _ = found
    record = evaluation_record(evaluation, command=("ivme",), settings={})
    save_record(record, tmp_path / "evaluation.json")
    again = load_record(tmp_path / "evaluation.json")
    facts = again.measurements[0].facts["classification"]
    scores = evaluation.verdicts[0].scored.scores
    assert np.abs(np.array(facts["scores"]) - scores).max() < 1e-6
    assert again.settings["counts"] == evaluation.counts
    assert again.settings["data"] == "texts.csv"


def test_texts_with_equal_votes_are_ranked_by_probability():
    tables = {
        "A": np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]),
        "B": np.array([[0.8, 0.2], [0.7, 0.3], [0.3, 0.7]]),
    }
    choices = {"A": np.array([0, 0, 0]), "B": np.array([0, 0, 1])}
    voted = majority(tables, choices)
    assert voted.choices.tolist() == [0, 0, 1]
    first = voted.probabilities[:, 0]
    assert first[0] > first[1] > first[2]
    assert voted.probabilities.sum(axis=1) == pytest.approx(1.0)


def test_groups_of_length_hold_every_text_once():
    words = [count_words("one two"), 50, 99, 100, 400, 5000]
    groups = length_groups(words)
    assert list(groups) == ["under 50", "50 to 99", "100 to 199", "400 or more"]
    assert sum(where.sum() for where in groups.values()) == len(words)
