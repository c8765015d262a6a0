import gc
import json
from dataclasses import replace

import pytest

from ivme.bench.configuration import TextSource
from ivme.errors import UsageError
from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan
from ivme.measure.clock import SystemClock
from ivme.measure.records import load_record, save_record
from ivme.models.corpus import corpus_documents
from ivme.tune import tuning
from ivme.tune.configuration import TuneConfig
from ivme.tune.material import Material
from ivme.tune.plan import load_plan
from ivme.tune.tuning import open_journal, run_tune

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)
ENGINES = ("transformers:float32", "transformers:bfloat16")


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
    gc.freeze()  # a search collects after each variant: not what was there before
    yield
    gc.unfreeze()


def config(**changes) -> TuneConfig:
    settings = {
        "model": "preset:bert-tiny",
        "texts": TextSource(file="corpus", limit=24),
        "engines": ENGINES,
        "threads": (1,),
        "budget_s": 4.0,
    }
    return TuneConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
        # A fresh process loads torch for seconds; its figure is tested with measure_memory.
        patch.setattr(tuning, "peak_memory_alone", lambda *_: 123_000_000)
        result = run_tune(config(), folder / "plan", command=("ivme", "tune"))
    save_record(result.record, folder / "record.json")
    return folder, result


def test_a_real_search_ends_with_a_record_of_every_variant(tuned):
    folder, result = tuned
    record = load_record(folder / "record.json")
    assert (record.kind, record.is_complete) == ("tune", True)
    facts = {one.facts["tune"]["name"]: one.facts["tune"] for one in record.measurements}
    assert set(facts) == set(ENGINES)
    assert result.chosen is not None
    assert facts[result.chosen.variant.name]["status"] == "chosen"
    assert facts["transformers:float32"]["is_baseline"]
    assert any(note.startswith("random weights") for note in record.notes)
    for one in record.measurements:
        assert one.samples_s["pass"]
        assert one.items_per_call
        assert one.floating_point_operations_per_call
    assert record.settings["spent_s"] > 0


def test_the_plan_answers_as_the_chosen_variant_did(tuned):
    folder, result = tuned
    texts = corpus_documents()[:3]
    with load_plan(folder / "plan") as predict:
        answers = predict(texts)
    assert [one.label in ("LABEL_0", "LABEL_1") for one in answers] == [True] * 3
    assert result.plan is not None
    plan = json.loads((folder / "plan" / "plan.json").read_text())
    assert plan["evidence"]["chosen"]["status"] == "chosen"
    assert plan["evidence"]["objective"] == "latency"
    assert not (folder / "plan.search.jsonl").exists()


def test_an_interrupt_leaves_a_record_and_the_same_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "peak_memory_alone", lambda *_: None)
    seen = []

    def stop(entry):
        seen.append(entry)
        if entry.variant.precision == "bfloat16" and entry.ratio is not None:
            raise KeyboardInterrupt

    first = run_tune(config(), tmp_path / "plan", on_entry=stop)
    assert not first.record.is_complete
    assert first.failure == "interrupted"
    assert "interrupted: the same command goes on from here" in first.record.notes
    assert (tmp_path / "plan.search.jsonl").exists()
    second = run_tune(config(), tmp_path / "plan")
    assert second.chosen is not None
    assert any("goes on from an interrupted search" in note for note in second.record.notes)
    assert not (tmp_path / "plan.search.jsonl").exists()


def choose_and_interrupt(search):
    search._start()
    search.chosen = search.baseline
    raise KeyboardInterrupt


def test_an_interrupt_once_the_choice_is_made_leaves_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr("ivme.tune.search.Search.run", choose_and_interrupt)
    result = run_tune(config(), tmp_path / "plan")
    assert not result.record.is_complete
    assert result.failure is None
    with load_plan(tmp_path / "plan") as predict:
        assert any(note.startswith("interrupted once") for note in predict.plan.notes)
    assert not (tmp_path / "plan.search.jsonl").exists()
    unwritten = run_tune(config())
    assert (unwritten.failure, unwritten.plan) == ("interrupted", None)


def test_a_plan_that_cannot_be_written_leaves_the_record_and_the_journal(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("the disk is full")

    def choose(search):
        search._start()
        search.chosen = search.baseline

    monkeypatch.setattr("ivme.tune.search.Search.run", choose)
    monkeypatch.setattr("ivme.tune.plan.write_plan", fail)
    result = run_tune(config(), tmp_path / "plan")
    assert result.failure is not None
    assert "was chosen" in result.failure
    assert result.failure.endswith("cannot be written: the disk is full")
    assert result.record.measurements
    assert (tmp_path / "plan.search.jsonl").exists()


@pytest.mark.parametrize("changed", ["labels", "calibration", "judged", "machine"])
def test_a_search_on_other_material_or_another_machine_begins_anew(tiny_model, tmp_path, changed):
    material = Material(timed=("a",), judged=("b", "c"), labels=("x", "y"), calibration=("d",))
    clock = SystemClock()

    def journal(material, machine):
        return open_journal(config(), tiny_model, material, tmp_path / "plan", clock, machine)

    journal(material, "here").step("one", lambda: 1)
    assert len(journal(material, "here")) == 1
    if changed != "machine":
        material = replace(material, **{changed: ("z", "z")})
    again = journal(material, "there" if changed == "machine" else "here")
    assert again.was_replaced
    assert len(again) == 0


def test_labels_of_another_kind_of_model_are_refused(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text,label\nIt works.,spam\nIt does not.,ham\n")
    source = TextSource(file=str(file))
    with pytest.raises(UsageError, match="in the file are 'ham', 'spam', those of the model"):
        run_tune(config(texts=source, labels="label"))


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'bitsandbytes'", name="bitsandbytes")

    monkeypatch.setattr("ivme.engines.registry.get_engine", missing)
    with pytest.raises(UsageError) as caught:
        run_tune(config(engines=("some",)))
    assert str(caught.value) == (
        "none of some can run here: some needs bitsandbytes, which is not installed: "
        "pip install 'ivme[gpu]'"
    )


def test_memory_is_measured_in_a_process_of_its_own(tiny_model):
    from ivme.engines.protocol import EngineOptions
    from ivme.tune.alone import peak_memory_alone
    from ivme.tune.space import baseline_variant

    texts = corpus_documents()[:2]
    peak_bytes = peak_memory_alone(baseline_variant(1), tiny_model, EngineOptions(), texts)
    assert peak_bytes is not None
    assert peak_bytes > tiny_model.weight_bytes
