"""The chapters about speed: one model two ways, and three architectures on the same texts."""

from ivme.bench.architectures import CompareConfig, run_compare
from ivme.bench.configuration import CORPUS, BenchConfig, TextSource
from ivme.bench.listening import Listener
from ivme.bench.sweep import run_bench
from ivme.measure.records import Record

MODELS = ("preset:bert-tiny", "preset:gpt2-tiny", "preset:t5-tiny")
TEXTS = 40  # of the built-in corpus
COMPARE_SHARE = 5  # times the seconds of calls for a paired comparison


def bench_two_ways(calls_s: float, listener: Listener) -> Record:
    """Return the record of a model called by hand against the pipeline, in turns."""
    config = BenchConfig(
        model=MODELS[0],
        versus="pipeline",
        batch_sizes=(1, 8),
        texts=TextSource(file=CORPUS, limit=TEXTS),
        budget_s=calls_s,
        compare_budget_s=COMPARE_SHARE * calls_s,
    )
    command = f"ivme bench {MODELS[0]} --versus pipeline --texts corpus --limit {TEXTS}"
    return run_bench(config, command=command.split(), listener=listener)


def compare_architectures(calls_s: float, listener: Listener) -> Record:
    """Return the record of an encoder, a decoder and both, on the same texts."""
    config = CompareConfig(
        models=MODELS,
        texts=TextSource(file=CORPUS, limit=TEXTS // 4),
        budget_s=calls_s,
        compare_budget_s=COMPARE_SHARE * calls_s,
    )
    command = f"ivme compare {' '.join(MODELS)} --limit {TEXTS // 4}"
    return run_compare(config, command=command.split(), listener=listener)
