import numpy as np
import pytest

from ivme.bench import runs, sweep
from ivme.bench.configuration import BenchConfig, TextSource
from ivme.bench.listening import Listener
from ivme.bench.sweep import run_bench
from ivme.engines import pipeline_engine, transformers_engine
from ivme.errors import DeviceError, ModelNotFoundError, UnknownEngineError, UsageError
from ivme.measure.memory_guard import memory_guard


def quick(**settings):
    defaults = {
        "model": "preset:bert-tiny",
        "batch_sizes": (1, 2),
        "token_counts": (8, 16),
        "budget_s": 1e-3,
        "compare_budget_s": 0.2,
        "threads": 1,
    }
    return BenchConfig(**{**defaults, **settings})


def test_every_batch_size_and_length_is_measured_and_its_parts_timed():
    record = run_bench(quick())
    points = [
        (m.configuration["batch_size"], m.configuration["tokens"]) for m in record.measurements
    ]
    assert points == [(1, 8), (2, 8), (1, 16), (2, 16)]
    for one in record.measurements:
        assert one.failure is None
        parts = {"load", "first_call", "latency", "encode", "forward", "decode"}
        assert parts | {"tokenizer_encode", "tokenizer_decode"} <= set(one.samples_s)
        assert len(one.samples_s["latency"]) >= runs.LEAST_CALLS
        assert len(one.samples_s["forward"]) == len(one.samples_s["latency"])
        assert one.items_per_call == one.configuration["batch_size"]
        assert one.tokens_per_call == one.configuration["batch_size"] * one.configuration["tokens"]
        # Weights are mapped from their file: rows of the embedding that no token needs stay there.
        assert 0.1 * one.facts["weight_bytes"] < one.peak_memory_bytes < 500e6


def test_labels_are_unique_in_a_record():
    record = run_bench(quick(engines=("transformers", "pipeline"), dtypes=("float32", "bfloat16")))
    labels = [one.label for one in record.measurements]
    assert len(labels) == 16
    assert len(set(labels)) == 16


def test_a_model_is_loaded_once_for_all_engines_and_points(monkeypatch):
    loads = []
    real = sweep.load_model
    monkeypatch.setattr(sweep, "load_model", lambda *a, **k: loads.append(a) or real(*a, **k))
    run_bench(quick(engines=("transformers",), versus="pipeline"))
    assert loads == [("preset:bert-tiny",)]


def test_cuda_memory_counts_the_weights_and_nothing_held_before(monkeypatch, planted_cuda):
    real = sweep.load_model

    def load(*arguments, **settings):
        planted_cuda.held_bytes += 100
        return real(*arguments, **settings)

    monkeypatch.setattr(sweep, "load_model", load)
    record = run_bench(quick(batch_sizes=(1,), token_counts=(8, 16)))
    assert [one.cuda_peak_memory_bytes for one in record.measurements] == [107, 107]


def test_versus_compares_on_the_same_texts_with_equal_threads():
    record = run_bench(quick(versus="pipeline", batch_sizes=(2,), token_counts=(8,)))
    (comparison,) = record.comparisons
    assert comparison.baseline == "pipeline · batch 2 · 8 tokens"
    assert comparison.variant == "transformers · batch 2 · 8 tokens"
    assert comparison.threads == 1


def test_real_texts_run_in_whole_rounds_and_padding_is_counted(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\n" + "many words " * 20 + "\nthree words here\n")
    (one,) = run_bench(
        quick(texts=TextSource(file=str(path)), batch_sizes=(2,), order="given")
    ).measurements
    assert len(one.samples_s["latency"]) % 2 == 0
    assert one.items_per_call == 1.5
    assert one.padded_tokens_per_call > one.tokens_per_call
    (fixed,) = run_bench(
        quick(texts=TextSource(file=str(path)), batch_sizes=(2,), padding="fixed", max_length=64)
    ).measurements
    assert fixed.padded_tokens_per_call == 1.5 * 64


def test_an_engine_that_cannot_run_the_model_says_why_and_the_others_run():
    record = run_bench(
        quick(model="preset:t5-tiny", engines=("pipeline", "transformers"), new_tokens=2)
    )
    refused, *ran = record.measurements
    assert "no pipeline for seq2seq" in refused.failure
    assert [one.failure for one in ran] == [None] * 4


def test_a_length_beyond_the_model_is_a_failed_point_and_the_sweep_goes_on():
    record = run_bench(quick(batch_sizes=(1,), token_counts=(4096, 8)))
    assert "tokens=4096" in record.measurements[0].failure
    assert record.measurements[1].failure is None


def test_running_out_of_memory_is_a_result_and_the_sweep_goes_on(monkeypatch):
    monkeypatch.setattr(runs, "memory_guard", lambda: memory_guard(48 * 2**20))
    record = run_bench(quick(batch_sizes=(256, 1), token_counts=(256,)))
    large, small = record.measurements
    assert large.failure.startswith("out of memory: ")
    assert small.failure is None


def test_an_engine_that_does_not_fit_is_a_result_and_the_others_run(monkeypatch):
    def make_a_copy(engine, model, options):
        np.ones(64 * 2**20, dtype=np.uint8)

    monkeypatch.setattr(pipeline_engine.PipelineEngine, "prepare", make_a_copy)
    monkeypatch.setattr(sweep, "memory_guard", lambda: memory_guard(16 * 2**20))
    record = run_bench(
        quick(engines=("pipeline", "transformers"), batch_sizes=(1,), token_counts=(8,))
    )
    large, small = record.measurements
    assert large.label == "pipeline · float32 · cpu"
    assert large.failure.startswith("out of memory: ")
    assert small.failure is None


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (RuntimeError("no kernel for this\nat line 7"), "RuntimeError: no kernel for this"),
        (UsageError("model.xml cannot be read (bad allocation)"), "out of memory: model.xml"),
    ],
)
def test_what_a_library_raises_while_it_is_made_ready_is_a_result(monkeypatch, error, failure):
    def fail(engine, model, options):
        raise error

    monkeypatch.setattr(pipeline_engine.PipelineEngine, "prepare", fail)
    record = run_bench(
        quick(engines=("pipeline", "transformers"), batch_sizes=(1,), token_counts=(8,))
    )
    failed, ran = record.measurements
    assert failed.failure.startswith(failure)
    assert ran.failure is None


def test_an_operation_that_is_not_there_is_a_result_and_the_sweep_goes_on(monkeypatch):
    real = transformers_engine.TransformersSession.predict

    def predict(session, texts, stages=None):
        if len(texts) == 2:
            raise NotImplementedError("no kernel for 'Half'")
        return real(session, texts, stages)

    monkeypatch.setattr(transformers_engine.TransformersSession, "predict", predict)
    failures = [one.failure for one in run_bench(quick(token_counts=(8,))).measurements]
    assert failures == [None, "NotImplementedError: no kernel for 'Half'"]


def test_an_interrupt_keeps_what_was_measured():
    steps = []

    def interrupt_at_the_second_point(step):
        steps.append(step)
        if step == "batch 2 · 8 tokens":
            raise KeyboardInterrupt

    record = run_bench(quick(), listener=Listener(tell=interrupt_at_the_second_point))
    assert not record.is_complete
    assert [one.label for one in record.measurements] == ["batch 1 · 8 tokens"]
    assert any("interrupted" in note for note in record.notes)


def test_operations_of_mixed_lengths_are_those_of_each_length_counted_alone():
    from ivme.bench.cases import make_case
    from ivme.engines.batching import Batching
    from ivme.engines.protocol import EngineOptions
    from ivme.engines.registry import get_engine
    from ivme.models.loading import load_model
    from ivme.models.operations import forward_flops

    model = load_model("preset:bert-tiny")
    session = get_engine("transformers").prepare(model, EngineOptions())
    texts = [" ".join(["word"] * count) for count in (1, 3, 9, 20, 33, 60)]
    case = make_case(texts, Batching(batch_size=1), session, None)
    alone = [forward_flops(model, 1, length) for length in case.padded_lengths]
    assert runs.flops_per_call(model, case, 1) == pytest.approx(sum(alone) / len(alone))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"engines": ("nonsense",)}, UnknownEngineError, "expected one of bitsandbytes, compile"),
        ({"model": "preset:nonsense"}, ModelNotFoundError, "no preset .nonsense."),
        ({"devices": ("cuda:9",)}, DeviceError, "this machine has"),
        ({"dtypes": ("float8",)}, UsageError, "expected one of float32"),
        ({"order": "random"}, UsageError, "expected one of given, sorted"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is_allowed(settings, error, message):
    with pytest.raises(error, match=message):
        run_bench(quick(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_sizes": (0,)}, "batch_sizes=0; expected 1 or more"),
        ({"budget_s": 0.0}, "budget_s=0.0; expected more than 0"),
        ({"versus": "transformers"}, "compares transformers with itself"),
    ],
)
def test_a_configuration_out_of_range_is_refused_at_once(settings, message):
    with pytest.raises(UsageError, match=message):
        quick(**settings)
