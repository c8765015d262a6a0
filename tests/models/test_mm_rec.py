import pytest

from ivme.bench.configuration import BenchConfig
from ivme.bench.sweep import run_bench
from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan
from ivme.models.loading import load_model

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


@pytest.fixture(scope="module")
def model():
    return load_model("preset:mm-rec-2m")


def test_the_documents_model_has_its_documented_size(model):
    assert model.parameters == 1_960_832


def test_a_recurrent_model_says_so_and_has_no_longest_text(model):
    assert (model.kind, model.architecture) == ("causal", "recurrent")
    assert model.max_length is None
    assert "does not grow" in model.good_for


def test_a_saved_folder_loads_like_the_preset(model, tmp_path):
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = load_model(str(tmp_path))
    assert (again.parameters, again.kind) == (model.parameters, "causal")


def test_the_bench_measures_it_by_hand_and_by_the_pipeline(monkeypatch):
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)
    config = BenchConfig(
        model="preset:mm-rec-1m-char",
        engines=("transformers", "pipeline"),
        batch_sizes=(2,),
        token_counts=(16,),
        budget_s=1e-3,
        new_tokens=3,
        threads=1,
    )
    assert [one.failure for one in run_bench(config).measurements] == [None, None]
