import dataclasses

import numpy as np
import pytest

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.evaluation import evaluate
from ivme.ensemble.evaluation_record import evaluation_record
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.model_card import model_card
from ivme.ensemble.stacking_fitting import fit_stacking


@pytest.fixture(scope="module")
def evaluated(small_ensemble):
    from styles import styled_texts

    texts, labels = styled_texts(40, ("human", "machine"), seed=3)
    texts[:10] = [f"{text} {text} {text} {text}" for text in texts[:10]]
    data = LabeledTexts(texts=tuple(texts), labels=tuple(labels), source="valid.csv")
    ensemble = EnsembleFolder.read(small_ensemble)
    evaluation = evaluate(ensemble, data, ["a"] * 20 + ["b"] * 20)
    return ensemble, evaluation_record(evaluation, command=(), settings={}, notes=("A demo: no.",))


def test_the_card_says_what_was_measured_and_what_it_must_not_be_used_for(evaluated):
    card = model_card(*evaluated)
    assert card.startswith("# Model card: Human or machine\n")
    accuracy = evaluated[1].measurements[-1].facts["classification"]["figures"]["accuracy"]
    assert f"{100 * accuracy['value']:.1f}%" in card
    for part in ("Short texts", "Non-native writers", "Technical prose", "not seen", "is no proof"):
        assert part in card
    assert "A demo: no." in card
    assert evaluated[0].content_hash[:16] in card


def test_the_card_says_where_the_probability_comes_from(evaluated):
    ensemble, record = evaluated
    assert ensemble.stacking is None
    assert "the mean of the members, and not calibrated" in model_card(ensemble, record)
    assert "comes from stacking" not in model_card(ensemble, record)
    shares = np.array([[0.9, 0.1], [0.2, 0.8]] * 5)
    tables = dict.fromkeys(ensemble.member_names, shares)
    stacking = fit_stacking(tables, np.array([0, 1] * 5), ensemble.labels)
    card = model_card(dataclasses.replace(ensemble, stacking=stacking), record)
    assert "the calibrated probability beside it comes from stacking" in card


def test_labels_that_are_not_about_authors_get_no_words_about_them(evaluated):
    ensemble, record = evaluated
    named = dataclasses.replace(ensemble, label_names={"human": "good", "machine": "bad"})
    card = model_card(named, record)
    assert "Non-native" not in card
    assert "proof" not in card
    assert "Short texts" in card


def test_the_folder_keeps_card_and_record_bound(evaluated, tmp_path):
    import json
    import shutil

    from ivme.measure.records import load_record, record_to_json

    ensemble, record = evaluated
    shutil.copytree(ensemble.path, tmp_path / "model")
    copied = EnsembleFolder.read(tmp_path / "model")
    written = copied.write_reports(
        evaluation=json.loads(record_to_json(record)), card=model_card(copied, record)
    )
    assert written.content_hash == ensemble.content_hash
    assert load_record(tmp_path / "model" / "evaluation.json").kind == "evaluate"
