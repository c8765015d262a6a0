import pytest

from ivme.bench import architectures
from ivme.bench.architectures import CompareConfig, run_compare
from ivme.bench.configuration import TextSource
from ivme.bench.listening import Listener
from ivme.errors import ModelNotFoundError, UsageError

TINY = ("preset:bert-tiny", "preset:gpt2-tiny", "preset:t5-tiny")


def quick(models=TINY, **settings):
    defaults = {
        "texts": TextSource(file="corpus", limit=3),
        "budget_s": 1e-3,
        "compare_budget_s": 0.2,
        "threads": 1,
        "max_length": 32,
        "new_tokens": 3,
    }
    return CompareConfig(models=models, **{**defaults, **settings})


@pytest.fixture(scope="module")
def record():
    return run_compare(quick())


def test_each_model_reads_and_those_that_write_are_timed_writing(record):
    works = [(one.configuration["model"], one.configuration["work"]) for one in record.measurements]
    assert works == [
        ("preset:bert-tiny", "read"),
        ("preset:gpt2-tiny", "read"),
        ("preset:gpt2-tiny", "write 3"),
        ("preset:t5-tiny", "read"),
        ("preset:t5-tiny", "write 3"),
    ]


def test_each_model_says_what_it_is_and_what_it_is_good_for(record):
    facts = {one.configuration["model"]: one.facts for one in record.measurements}
    architectures = [facts[name]["architecture"] for name in TINY]
    assert architectures == ["encoder-only", "decoder-only", "encoder-decoder"]
    for name in TINY:
        assert facts[name]["good_for"]
        assert facts[name]["parameters"] > 1_000_000


def test_the_others_are_compared_with_the_first_on_equal_threads(record):
    assert [one.baseline for one in record.comparisons] == ["preset:bert-tiny"] * 2
    assert [one.variant for one in record.comparisons] == list(TINY[1:])
    assert {one.threads for one in record.comparisons} == {1}


def test_memory_counts_each_model_alone(record):
    for one in record.measurements:
        assert 0.1 * one.facts["weight_bytes"] < one.peak_memory_bytes < 500e6


def test_cuda_memory_counts_each_models_own_weights(monkeypatch, planted_cuda):
    real = architectures.load_model

    def load(*arguments, **settings):
        planted_cuda.held_bytes += 100
        return real(*arguments, **settings)

    monkeypatch.setattr(architectures, "load_model", load)
    record = run_compare(quick(TINY[:2]))
    assert {one.cuda_peak_memory_bytes for one in record.measurements} == {107}


def test_an_interrupt_keeps_what_was_measured():
    def interrupt_at_the_second_model(step):
        if step.startswith("preset:gpt2-tiny ·"):
            raise KeyboardInterrupt

    record = run_compare(quick(), listener=Listener(tell=interrupt_at_the_second_model))
    assert not record.is_complete
    assert [one.configuration["model"] for one in record.measurements] == ["preset:bert-tiny"]


def test_a_missing_model_is_refused_before_any_is_loaded():
    steps = []
    with pytest.raises(ModelNotFoundError, match="no preset 'nonsense'"):
        run_compare(
            quick(models=("preset:bert-tiny", "preset:nonsense")),
            listener=Listener(tell=steps.append),
        )
    assert not any(step.startswith("loading") for step in steps)


@pytest.mark.parametrize("models", [("preset:bert-tiny",), ("preset:bert-tiny",) * 2])
def test_fewer_than_two_different_models_are_refused(models):
    with pytest.raises(UsageError, match="expected two different ones or more"):
        quick(models=models)
