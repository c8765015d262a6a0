import json
import subprocess
import sys

import pytest
import torch

from ivme.errors import RefusedError
from ivme.measure.records import load_record
from mm_rec.core.projections import set_hem
from mm_rec.scripts import benchmark_hem, real_benchmark
from mm_rec.scripts.subject import Parser, settle

TINY = ["--device", "cpu", "--threads", "1", "--vocab_size", "64", "--model_dim", "16"]
TINY += ["--num_layers", "2", "--batch_size", "1", "--seq_len", "8"]


@pytest.fixture(autouse=True)
def same_threads_afterwards(monkeypatch):
    threads = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def subject():
    return settle(Parser("test", None).parse_args(TINY))


def test_the_benchmark_writes_a_record_and_plain_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert real_benchmark.main([*TINY, "--seconds", "0.05"]) == 0
    shown = capsys.readouterr().out
    assert "tokens/s" in shown
    assert "record: benchmark_results.json" in shown
    figures = json.loads((tmp_path / "benchmark_results.json").read_text())
    assert figures["per_layer_latency_ms"] == pytest.approx(figures["forward_latency_ms"] / 2)
    assert figures["tokens_per_s"] == pytest.approx(8e3 / figures["forward_latency_ms"])
    assert figures["decode_implementation"] == "cpu"
    assert f"{figures['memory_mb']:.1f} MiB" in shown
    record = load_record(tmp_path / "benchmark_results.json")
    assert [one.label for one in record.measurements] == ["block", "forward", "decode"]
    assert all(len(one.samples_s["warmup"]) == 3 for one in record.measurements)
    assert record.settings["model_dim"] == 16


def test_the_benchmark_of_hem_compares_three_things(tmp_path, capsys):
    output = tmp_path / "hem.json"
    assert benchmark_hem.main([*TINY, "--seconds", "0.3", "--output", str(output)]) == 0
    record = load_record(output)
    assert [one.variant for one in record.comparisons] == [
        "block, fused",
        "forward, fused",
        "training step, fused",
    ]
    labels = {one.label for one in record.measurements}
    assert labels >= {one.baseline for one in record.comparisons}
    training = [one for one in record.measurements if "training" in one.label]
    assert all(one.peak_memory_bytes > 0 for one in training)
    assert "saved (95%)" in capsys.readouterr().out


def test_both_forms_hold_the_same_weights(subject):
    models = benchmark_hem.make_models(subject)
    assert models["fused"].config.use_hem
    assert not models["separate"].config.use_hem
    benchmark_hem.check_agreement(models, subject)


def test_forms_that_differ_are_not_timed(subject):
    models = benchmark_hem.make_models(subject)
    torch.nn.init.ones_(models["fused"].model.layers[0].W_o.weight)
    with pytest.raises(RefusedError, match=r"differ by .* in their logits; at most 1e-05"):
        benchmark_hem.check_agreement(models, subject)


def test_time_saved_is_told_in_percent_of_the_separate_form(subject):
    figure = benchmark_hem.compare_forms(subject, 0.1)[0]
    saved, low, high = figure.improvement
    assert saved == pytest.approx(100 * (1 - figure.comparison.ratio))
    assert low <= saved <= high


@pytest.mark.parametrize("script", [real_benchmark, benchmark_hem])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cuda:7"], "device='cuda:7'; this machine has"),
        (["--model_dim", "13"], "num_heads=4 does not divide model_dim=13"),
        (["--num_memories", "9"], "num_memories=9; expected 0"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(script, arguments, message, capsys):
    assert script.main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--batch_size", "0"], ["--preset", "nano"], ["--seconds", "-1"], ["--fast"]]
)
def test_wrong_options_are_told_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        real_benchmark.main(arguments)
    told = capsys.readouterr().err
    assert arguments[0] in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["real_benchmark", "benchmark_hem"])
def test_a_script_tells_its_options(name):
    command = [sys.executable, "-m", f"mm_rec.scripts.{name}", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for option in ("--device", "--batch_size", "--seq_len", "--model_dim", "--output"):
        assert option in told


def test_weights_do_not_depend_on_the_form(subject):
    model = subject.model()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    set_hem(model, False)
    set_hem(model, True)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("script", [real_benchmark, benchmark_hem])
def test_an_interrupt_is_told_in_one_line(script, monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "settle", interrupt)
    assert script.main([]) == 1
    assert capsys.readouterr().err == "interrupted\n"
