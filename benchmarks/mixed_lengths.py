"""100 texts of mixed length: what a pipeline makes of them, and what a plan does.

Run `python benchmarks/mixed_lengths.py --output mixed_lengths.json`. The texts come from the
built-in corpus (mean 73 tokens, longest 460, or nearly so). Against `pipeline()` as most programs
call it and `pipeline(batch_size=16)` run plans of one engine: text by text, and in the batches that
were fastest for other texts, on one stream of all threads and on as many streams of one thread. All
get equal threads. First the labels: if those of batches differ from those of single texts, nothing
is timed. Variants take turns in random order; ratios are medians of ratios within one round. Last,
on texts of one length, batches are compared with single texts.
"""

import argparse
import itertools
import json
import math
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ivme.engines.batching import Batching, make_batches, padding_statistics
from ivme.engines.batching_choice import choose_batching
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import choose_engine
from ivme.hardware.threads import ThreadSettings, apply_threads
from ivme.measure.compare import ComparePlan, compare
from ivme.models.corpus import corpus_documents
from ivme.models.loading import LoadedModel, load_model
from ivme.models.synthetic import synthetic_workload
from ivme.tune.plan import load_plan, write_plan
from ivme.tune.predictor import Predictor
from ivme.tune.variants import Variant

TEXTS, MEAN_TOKENS, LONGEST_TOKENS = 100, 73, 460
MEDIAN_TOKENS, SPREAD = 46, 0.97  # of a log-normal distribution, which lengths of texts follow
BATCH_SIZE = 16
GOALS = {"pipeline()": 8.0, f"pipeline(batch_size={BATCH_SIZE})": 25.0}  # times faster
MOST_PADDING = 0.05
EQUAL_MARGIN = 0.01
UNBATCHED = Batching(batch_size=1)


def main() -> int:
    options = _parser().parse_args()
    apply_threads(ThreadSettings(intra=options.threads))
    model = load_model(options.model)
    texts = mixed_texts(model, options.seed)
    lengths = [len(row) for row in _token_ids(model, texts)]
    print(
        f"{len(texts)} texts, mean {statistics.mean(lengths):.0f} tokens, longest {max(lengths)}; "
        f"{options.model}, {options.engine}, {options.threads} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        plans = _make_plans(Path(folder), model, options)
        content = _run(options, model, texts, lengths, plans)
    if content is None:
        return 1
    if options.output:
        options.output.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="preset:bert-base")
    parser.add_argument("--engine", default="fused:int8", help="NAME:PRECISION")
    parser.add_argument("--threads", type=int, default=2, help="in all, of every variant")
    parser.add_argument("--rounds", type=int, default=5, help="times that each variant runs")
    parser.add_argument("--equal-budget", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file for all raw samples, as JSON")
    return parser


def mixed_texts(model: LoadedModel, seed: int) -> list[str]:
    """Return texts of the corpus whose lengths follow a log-normal distribution, shuffled."""
    documents = random.Random(seed).sample(corpus_documents(), 4000)
    limit = min(LONGEST_TOKENS, model.max_length or LONGEST_TOKENS)
    by_length: dict[int, list[str]] = {}
    for document, row in zip(documents, _token_ids(model, documents), strict=True):
        by_length.setdefault(len(row), []).append(document)
    normal = statistics.NormalDist(math.log(MEDIAN_TOKENS), SPREAD)
    shares = [(at + 0.5) / TEXTS for at in range(TEXTS - 1)]
    wanted = [min(limit, math.exp(normal.inv_cdf(share))) for share in shares] + [limit]
    texts = []
    for tokens in wanted:
        found = min((length for length in by_length if length <= limit), key=_distance(tokens))
        texts.append(by_length[found].pop())
        if not by_length[found]:
            del by_length[found]
    random.Random(seed).shuffle(texts)
    return texts


def _distance(tokens: float) -> Callable[[int], float]:
    return lambda length: abs(length - tokens)


def _token_ids(model: LoadedModel, texts: Sequence[str]) -> list[list[int]]:
    rows: list[list[int]] = model.tokenizer(
        list(texts), truncation=model.max_length is not None, max_length=model.max_length
    )["input_ids"]
    return rows


def _make_plans(
    folder: Path, model: LoadedModel, options: argparse.Namespace
) -> dict[str, Predictor]:
    """Return the plans by the way they run, as a user loads them: one of each way of streams."""
    engine, precision = choose_engine(options.engine)
    name = options.engine
    engine_options = EngineOptions()
    if precision == "int8-static":
        calibration = random.Random(options.seed + 1).sample(corpus_documents(), 128)
        engine_options = EngineOptions(calibration_texts=tuple(calibration))
    plans = {}
    for streams in sorted({1, options.threads}):
        variant = Variant(
            engine=engine.name,
            precision=precision or engine.precisions[0],
            threads=options.threads // streams,
            batching=replace(UNBATCHED, streams=streams),
        )
        way = f"{name}, {streams} x {variant.threads}"
        target = folder / str(streams)
        write_plan(target, model=model, variant=variant, options=engine_options, evidence={})
        plans[way] = load_plan(target)
    return plans


def _run(
    options: argparse.Namespace,
    model: LoadedModel,
    texts: list[str],
    lengths: list[int],
    plans: dict[str, Predictor],
) -> dict[str, Any] | None:
    variants: dict[str, Callable[[], object]] = _pipelines(model, texts)
    content: dict[str, Any] = {"batching": {}, "padding_share": {}}
    first = next(iter(plans.values()))
    others = mixed_texts(model, options.seed + 1)  # batches are chosen on these
    expected = first.predict(texts, UNBATCHED)
    variants[f"{options.engine}, text by text"] = lambda: first.predict(texts, UNBATCHED)
    packed = {}
    for way, predictor in plans.items():
        streams = predictor.plan.variant.batching.streams
        batching = choose_batching(predictor.session, others, streams=streams)
        packed[way] = batching
        statistics_ = padding_statistics(
            lengths, make_batches(lengths, batching), predictor.session
        )
        content["batching"][way] = asdict(batching)
        content["padding_share"][way] = statistics_.padding_share
        print(
            f"{way}: {_describe(batching)}; padding {statistics_.padding_share:.1%} of tokens   "
            f"goal under {MOST_PADDING:.0%}"
        )
        if not _same_labels(way, expected, predictor.predict(texts, batching)):
            return None
        variants[f"{way}, batched"] = _call(predictor, texts, batching)
    samples = _interleave(variants, options.rounds)
    _print(samples)
    content["equal_lengths"] = _on_equal_lengths(options, model, plans, packed)
    return {**_where(options), **content, "lengths": lengths, "seconds": samples}


def _describe(batching: Batching) -> str:
    if batching.cost is None:
        return "single texts are fastest"
    token_s = batching.cost.token_s + MEAN_TOKENS * batching.cost.pair_s
    return (
        f"{batching.max_batch_tokens} tokens a batch; a call costs as much as "
        f"{batching.cost.call_s / token_s:.0f} tokens"
    )


def _pipelines(model: LoadedModel, texts: list[str]) -> dict[str, Callable[[], object]]:
    from transformers import pipeline

    pipe = pipeline("text-classification", model=model.model, tokenizer=model.tokenizer)
    first, second = GOALS

    def run(**arguments: int) -> Callable[[], object]:
        def call() -> object:
            pipe.call_count = 0  # it lectures on data sets after ten calls
            return pipe(texts, truncation=True, **arguments)

        return call

    return {first: run(), second: run(batch_size=BATCH_SIZE)}


def _call(predictor: Predictor, texts: list[str], batching: Batching) -> Callable[[], object]:
    return lambda: predictor.predict(texts, batching)


def _same_labels(way: str, expected: Sequence[Any], found: Sequence[Any]) -> bool:
    differing = sum(one.label != other.label for one, other in zip(expected, found, strict=True))
    largest = max(
        float(np.abs(one.probabilities - other.probabilities).max())
        for one, other in zip(expected, found, strict=True)
    )
    print(f"{way}: {differing} labels differ, probabilities by {largest:.1e} at most")
    if differing:
        print("Not timed: batches give other labels than single texts.", file=sys.stderr)
    return not differing


def _interleave(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return seconds of each variant, one for each round; the first round is warm-up."""
    order = random.Random(0)
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds + 1):
        names = list(variants)
        order.shuffle(names)
        for name in names:
            start_s = time.perf_counter()
            variants[name]()
            if round_number:
                samples[name].append(time.perf_counter() - start_s)
    return samples


def _print(samples: dict[str, list[float]]) -> None:
    for name, seconds in samples.items():
        print(f"{name:44} {TEXTS / statistics.median(seconds):8.1f} texts/s")
    for name, (baseline, goal) in itertools.product(samples, GOALS.items()):
        if name in GOALS:
            continue
        pairs = zip(samples[baseline], samples[name], strict=True)
        ratios = [slow / fast for slow, fast in pairs]
        print(
            f"{name:44} {statistics.median(ratios):6.1f} times {baseline}, "
            f"{min(ratios):.1f} to {max(ratios):.1f}   goal {goal:.0f}"
        )


def _on_equal_lengths(
    options: argparse.Namespace,
    model: LoadedModel,
    plans: dict[str, Predictor],
    packed: dict[str, Batching],
) -> dict[str, Any]:
    """Return comparisons of packing with single texts, on texts that all have the mean length."""
    tokens = min(MEAN_TOKENS, model.max_length or MEAN_TOKENS)
    texts = list(synthetic_workload(model.tokenizer, tokens=tokens, count=32, seed=0).texts)
    found = {}
    for way, predictor in plans.items():
        singles = replace(UNBATCHED, streams=packed[way].streams)
        (comparison,) = compare(
            {
                "single": _call(predictor, texts, singles),
                "packed": _call(predictor, texts, packed[way]),
            },
            plan=ComparePlan(budget_s=options.equal_budget),
        )
        low, high = comparison.interval
        print(
            f"{way}, equal lengths: packed / single {comparison.ratio:.3f}, {low:.3f} to "
            f"{high:.3f}   goal at most {1 + EQUAL_MARGIN:.2f}"
        )
        found[way] = asdict(comparison)
    return found


def _where(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "machine": platform.processor() or platform.machine(),
        "model": options.model,
        "engine": options.engine,
        "threads": options.threads,
    }


if __name__ == "__main__":
    sys.exit(main())
