import gc
from contextlib import contextmanager

import pytest
from small_ensembles import LABELS, random_classifier
from styles import styled_texts

from ivme.engines.protocol import Prediction
from ivme.ensemble import transformer_plan
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.transformer_plan import PlanSettings, _QuickChoice, make_plan
from ivme.errors import IvmeError
from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan
from ivme.measure.records import record_to_json
from ivme.tune import tuning
from ivme.tune.plan import load_plan

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return random_classifier(tmp_path_factory.mktemp("weights") / "BERT")


def judged(count: int = 30) -> LabeledTexts:
    texts, labels = styled_texts(count, LABELS)
    return LabeledTexts(texts=(*texts[1:], "a \ud800 lone surrogate"), labels=tuple(labels))


def test_a_search_with_labels_ends_in_a_plan(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
    monkeypatch.setattr(tuning, "peak_memory_alone", lambda *_: None)
    gc.freeze()  # a search collects after each variant: not what was there before
    lines, records = [], []
    settings = PlanSettings(search_s=3.0, engines=("transformers:float32", "openvino:int4"))
    try:
        facts = make_plan(
            "BERT",
            weights,
            tmp_path / "plan",
            judged(),
            settings=settings,
            progress=lines.append,
            on_search=records.append,
        )
    finally:
        gc.unfreeze()
    assert facts["how"] == "search"
    (record,) = records
    assert (record.kind, record.settings["model"]) == ("tune", "BERT")
    assert {one.configuration["model"] for one in record.measurements} == {"BERT"}
    written = record_to_json(record) + (tmp_path / "plan" / "plan.json").read_text("utf-8")
    assert str(weights) not in written  # a draft's folder, and gone by then
    assert "judged.csv" not in written
    assert lines == ["Tuning BERT: a search of 3 s...", f"BERT runs on {facts['variant']}"]
    with load_plan(tmp_path / "plan") as predict:
        assert predict.labels == LABELS


def test_an_interrupted_search_interrupts_what_it_was_for(weights, tmp_path, monkeypatch):
    def interrupt(search):
        raise KeyboardInterrupt

    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
    monkeypatch.setattr("ivme.tune.search.Search.run", interrupt)
    settings = PlanSettings(search_s=3.0, engines=("transformers:float32",))
    with pytest.raises(KeyboardInterrupt):
        make_plan("BERT", weights, tmp_path / "plan", judged(), settings=settings)
    assert not (tmp_path / "plan").exists()


def test_a_member_whose_search_finds_nothing_safe_stays_in_float32(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
    monkeypatch.setattr("ivme.tune.search.Search.run", lambda search: None)  # nothing is chosen
    settings = PlanSettings(search_s=3.0, engines=("onnxruntime:int8",))
    lines: list[str] = []
    facts = make_plan(
        "BERT", weights, tmp_path / "plan", judged(), settings=settings, progress=lines.append
    )
    assert facts["variant"].startswith("openvino:float32")
    assert lines[1].startswith("BERT stays in float32: no variant ran")
    with load_plan(tmp_path / "plan") as predict:
        assert predict.labels == LABELS


class Slow:
    seconds = 0.0

    def now(self) -> float:
        self.seconds += 4.0
        return self.seconds


def test_the_quick_way_judges_as_many_texts_as_there_is_time_for(weights, tmp_path):
    # 4 s for the first 4 texts, so 10 texts in 10 s.
    settings = PlanSettings(judge_s=10.0, engines=("transformers",))
    facts = make_plan("BERT", weights, tmp_path / "plan", judged(), settings=settings, clock=Slow())
    assert [one["quality"]["texts"] for one in facts["tried"]] == [10]
    assert facts["tried"][0]["reason"] is None


def test_the_quick_way_judges_texts_of_all_labels_and_others_than_it_calibrates_on(weights):
    texts, labels = styled_texts(600, LABELS)
    order = sorted(range(600), key=lambda at: labels[at])
    ordered = LabeledTexts(
        texts=tuple(f"{texts[at]} {at}" for at in order), labels=tuple(labels[at] for at in order)
    )
    settings = PlanSettings(judge_s=10.0)
    found = _QuickChoice("BERT", weights, ordered, settings, Slow())
    assert len(found.texts) == 10
    assert found.gate.labels is not None
    assert set(found.gate.labels) == set(LABELS)
    assert len(found.options.calibration_texts) == 128
    assert not set(found.texts) & set(found.options.calibration_texts)
    true_labels = dict(zip(ordered.texts, ordered.labels, strict=True))
    assert [true_labels[text] for text in found.texts] == list(found.gate.labels)


@pytest.mark.parametrize(
    ("wrong", "judged_on", "is_taken"),
    [
        ({50}, 400, True),  # 1 of 100 is too few to be sure, 1 of 400 is enough
        ({50, *range(100, 400, 20)}, 400, False),  # the first ones were luck
        ({10, 40, 80}, 100, False),  # more texts would not help
        (range(0, 64, 3), 64, False),  # hopeless at the first look
    ],
)
def test_the_quick_way_judges_on_as_many_texts_as_it_takes(
    weights, tmp_path, monkeypatch, wrong, judged_on, is_taken
):
    texts = LabeledTexts(
        texts=tuple(f"text {number}" for number in range(700)),
        labels=LABELS * 350,
        source="judged.csv",
    )
    truth = dict(zip(texts.texts, texts.labels, strict=True))
    order: list[str] = []  # in which texts are judged

    @contextmanager
    def scripted(model, variant, options):
        def answers(asked):
            if variant.engine == "transformers":
                order.extend(asked)
            mistaken = {one for at, one in enumerate(order) if at in wrong}
            mistaken = mistaken if variant.engine == "onnxruntime" else set()
            return [
                Prediction(label=LABELS[LABELS.index(truth[one]) ^ (one in mistaken)])
                for one in asked
            ]

        yield answers

    monkeypatch.setattr(transformer_plan, "_session", scripted)
    # 4 s for the first 4 texts, so 100 texts in 100 s.
    settings = PlanSettings(
        judge_s=100.0,
        max_quality_loss=0.025,
        engines=("onnxruntime:int8", "openvino:float32"),
    )
    facts = make_plan("BERT", weights, tmp_path / "plan", texts, settings=settings, clock=Slow())
    assert facts["tried"][0]["quality"]["texts"] == judged_on
    assert facts["variant"].startswith("onnxruntime:int8" if is_taken else "openvino:float32")


def test_where_nothing_keeps_the_quality_the_reasons_are_told(weights, tmp_path):
    settings = PlanSettings(engines=("onnxruntime:int8",))
    with pytest.raises(IvmeError) as caught:
        make_plan("BERT", weights, tmp_path / "plan", judged(), settings=settings)
    assert "member BERT cannot be run within a quality loss of 1.0%: onnxruntime:int8: it may" in (
        str(caught.value)
    )
    assert not (tmp_path / "plan").exists()
