"""How near a search comes to trying everything, and in what share of its time.

    python benchmarks/tune_search.py [--model preset:bert-base] [--budget 300] [--engines NAMES]
        [--objective latency] [--threads 2,1] [--output out/tune_search.json]

Searches first; what counts is the time until it has chosen, the gate included, and not the
evidence that it gathers afterwards. Then it tries everything: each variant of the same space is
made ready and runs as many passes over the same texts as the search gave to the one it chose. The
two winners meet in a paired comparison. The search should be within 3% of the best in a fifth of
the time. Variants that it found to lose too much quality are left out of both.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ivme.bench.configuration import TextSource
from ivme.bench.listening import Listener
from ivme.bench.place import settle_place
from ivme.bench.runs import warm_libraries
from ivme.cli.arguments import split_counts, split_names
from ivme.engines.batch_costs import USUAL_COST
from ivme.engines.batching import Batching, predict_all
from ivme.errors import OutOfMemoryError
from ivme.measure.clock import SystemClock
from ivme.measure.records import new_record, save_record
from ivme.measure.statistics import median
from ivme.models.loading import load_model
from ivme.tune.configuration import TuneConfig
from ivme.tune.journal import Journal
from ivme.tune.material import gather
from ivme.tune.search import Search
from ivme.tune.sessions import Unusable
from ivme.tune.space import (
    first_batching,
    load_engines,
    other_batchings,
    other_threads,
    shapes_for,
)
from ivme.tune.tuning import make_search
from ivme.tune.variants import Variant

SHARE, MARGIN = 0.2, 1.03


def main() -> int:
    arguments = read_arguments()
    config = TuneConfig(
        model=arguments.model,
        texts=TextSource(file="corpus", limit=100),
        objective=arguments.objective,
        budget_s=arguments.budget,
        engines=split_names(arguments.engines) if arguments.engines else (),
        threads=split_counts(arguments.threads, "--threads") if arguments.threads else (),
    )
    place = settle_place(None, print, print)
    warm_libraries()
    search = run_search(config, place.threads)
    assert search.chosen is not None, "the search chose nothing"
    assert search.decided_s is not None
    search_s = search.decided_s
    print(f"search: {search.chosen.label} in {search_s:.1f} s", flush=True)
    passes = passes_of(search)
    best, exhaustive_s = try_everything(search, passes)
    print(f"everything: {best.label} in {exhaustive_s:.1f} s, {passes} passes each", flush=True)
    comparisons = []
    ratio = 1.0
    if best != search.chosen.variant:
        comparisons = [search.steps.compare(search.chosen.variant, best, search.chosen.texts, 60.0)]
        ratio = comparisons[0].ratio
    is_near, is_quick = ratio <= MARGIN, search_s <= SHARE * exhaustive_s
    print(f"the search's choice takes {ratio:.3f} of the best one's time (at most {MARGIN})")
    print(f"in {search_s / exhaustive_s:.1%} of the time for everything (at most {SHARE:.0%})")
    if arguments.output is not None:
        settings = {
            **config.as_settings(),
            "search_s": search_s,
            "exhaustive_s": exhaustive_s,
            "chosen": search.chosen.label,
            "best": best.label,
            "ratio": ratio,
        }
        record = new_record(
            "compare", sys.argv, place.as_machine(), settings, comparisons=comparisons
        )
        save_record(record, arguments.output)
    return 0 if is_near and is_quick else 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="preset:bert-base")
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--engines", default=None)
    parser.add_argument("--objective", default="latency")
    parser.add_argument("--threads", default=None)
    parser.add_argument("--output", type=Path, default=None)
    return parser.parse_args()


def run_search(config: TuneConfig, cores: int) -> Search:
    from ivme.engines.registry import ENGINES

    names = [one.partition(":")[0] for one in config.engines] or list(ENGINES)
    model, clock = load_model(config.model), SystemClock()
    search = make_search(
        config,
        model,
        load_engines(list(dict.fromkeys(names))),
        gather(config, model),
        usable_cores=cores,
        journal=Journal(None, {}, clock),
        clock=clock,
        listener=Listener(tell=lambda text: print(f"  {text}", flush=True)),
    )
    search.measure_memory = lambda variant: None  # costs both alike
    search.run()
    return search


def passes_of(search: Search) -> int:
    """Return how many passes the search gave to the variant it chose, until it chose it."""
    assert search.chosen is not None
    name, final = search.chosen.label, search.comparisons[-1]
    return sum(block["calls"][name] * len(block["seconds"][name]) for block in final.blocks)


def variants_of(search: Search) -> list[Variant]:
    """Return every variant of the space, but those that lose too much."""
    config, threads = search.config, search.threads
    lossy = {one.variant.name for one in search.entries if one.status == "lossy"}
    lengths = search.steps.count_tokens(search.steps.material.timed)
    found: dict[str, Variant] = {}
    for choice in search.choices:
        plain = Variant(
            engine=choice.engine,
            precision=choice.precision,
            threads=threads[0],
            batching=first_batching(config.objective),
        )
        if choice.refusal is not None or plain.name in lossy:
            continue
        for batching in batchings_of(config, choice.engine, lengths):
            batched = replace(plain, batching=batching)
            for one in (batched, *other_threads(batched, threads, config.objective)):
                found[one.label] = one
    return list(found.values())


def batchings_of(config: TuneConfig, engine: str, lengths: Sequence[int]) -> list[Batching]:
    first = first_batching(config.objective)
    if config.objective == "latency":
        return [first, *shapes_for(engine, lengths)]
    return [first, *other_batchings(config, USUAL_COST)]


def try_everything(search: Search, passes: int) -> tuple[Variant, float]:
    """Return the fastest of all variants, and the seconds that it took to find it."""
    clock, sessions = search.steps.clock, search.steps.sessions
    assert search.chosen is not None
    texts, start_s = search.chosen.texts, clock.now()
    seconds: dict[str, float] = {}
    variants = variants_of(search)
    for variant in variants:
        try:
            session = sessions.get(variant)
            run = lambda session=session, one=variant: predict_all(session, texts, one.batching)  # noqa: E731
            run()
            seconds[variant.label] = median([clock.time(run) for _ in range(passes)])
            print(f"  {1000 * seconds[variant.label]:10.2f} ms  {variant.label}", flush=True)
        except (Unusable, OutOfMemoryError) as error:
            print(f"  {'':10}     {variant.label}: {error}", flush=True)
        sessions.keep_only(())
    best = min(seconds, key=lambda label: seconds[label])
    return replace(next(one for one in variants if one.label == best)), clock.now() - start_s


if __name__ == "__main__":
    sys.exit(main())
