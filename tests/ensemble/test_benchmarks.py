"""The benchmarks of ensembles: what they compare, and what they hold out."""

import importlib.util
import sys

import pytest

from ivme.ensemble import Predictor
from ivme.ensemble.tabular import TabularMembers
from ivme.evidence.running import checkout_folder


def load_benchmark(name):
    path = checkout_folder() / "benchmarks" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


SCORING, QUALITY, TABULAR = map(
    load_benchmark, ("ensemble_scoring", "ensemble_quality", "tabular_scoring")
)


def test_without_h2o_forests_are_held_to_onnx_alone(trained_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h2o", None)  # as where it is not installed
    tabular = TabularMembers.load(trained_folder)
    assert TABULAR._failed_gates(tabular, "moreover the crucial landscape", {}) == []


def test_texts_without_a_group_are_held_out_by_themselves(monkeypatch):
    trained_on = []

    def fit(rows):
        trained_on.append(rows)
        return None, 0.0

    def row(at, **more):
        return {"text": f"text {at}", "label": "ab"[at % 2], "domain": "letters", **more}

    train = [row(at, domain="reports" if at < 50 else "letters") for at in range(100)]
    monkeypatch.setattr(QUALITY, "_judged", lambda name, members, rows, labels: len(rows))
    found = QUALITY._leave_out("domain", train, [row(at) for at in range(60)], ["a", "b"], fit, 1e9)
    assert found == {"letters": 110, "reports": 50}
    assert [len(rows) for rows in trained_on] == [50, 50]
    train[99]["group"] = train[0]["group"] = "one"  # and all others stay alone
    assert QUALITY._leave_out("domain", train, [], ["a", "b"], fit, 1e9)["reports"] == 51


@pytest.fixture
def five(tmp_path, monkeypatch):
    """A predictor of the five members that the benchmark times, small ones."""
    train_members = SCORING.train_members
    monkeypatch.setattr(SCORING, "train_members", lambda folder: train_members(folder, 60))
    tiny = "preset:bert-tiny"
    folder = SCORING.make_ensemble(tmp_path, tiny, tiny, "onnxruntime:float32")
    with Predictor.load(folder, threads=1, cache_size=0) as predictor:
        yield predictor


def test_only_probabilities_that_agree_and_differ_by_text_are_timed(five, monkeypatch):
    texts = SCORING.mixed_texts(0, 16)
    assert SCORING._failed_gates(five, five, texts[0], texts) == []
    [bert, roberta, *_] = SCORING._failed_gates(five, five, texts[0], texts[:1] * 16)
    assert bert.startswith("BERT says so much the same of all texts")
    assert roberta.startswith("RoBERTa says so much")

    answers = five.predict_batch(texts)
    answers[3]["individual_results"]["BERT"]["confidence"] += 2 * SCORING.TOLERANCE
    monkeypatch.setattr(five, "predict_batch", lambda texts: answers)
    [failure] = SCORING._failed_gates(five, five, texts[0], texts)
    assert failure == "1 of 16 texts get other probabilities in a batch"
