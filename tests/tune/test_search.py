import gc
import random
from dataclasses import replace

import pytest
from planted import PlantedEngine, StillClock, Traits, planted_engines, planted_search, true_pass_s

from ivme.bench.configuration import TextSource
from ivme.engines.batching import Batching
from ivme.errors import OutOfMemoryError, UsageError
from ivme.tune.configuration import TuneConfig
from ivme.tune.entries import Entry
from ivme.tune.finals import _move_with
from ivme.tune.journal import Journal
from ivme.tune.space import baseline_variant
from ivme.tune.tuning import why_none

TEXTS = TextSource(file="corpus")
BASELINE = {"float32": Traits(text_s=0.1)}


def config(**changes) -> TuneConfig:
    return TuneConfig(**{"model": "made up", "texts": TEXTS, "budget_s": 300.0, **changes})


def statuses(search) -> dict[str, str]:
    return {one.variant.name: one.status for one in search.entries}


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection():
    """Leave what was there before out of collections: a search collects after each variant."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def many_variants(clock: StillClock, seed: int) -> dict[str, PlantedEngine]:
    """Twelve variants besides the baseline, 0.2 to 12 times its speed, some of them lossy."""
    source = random.Random(seed)
    names = {"fast": 4, "slow": 4, "other": 4}
    precisions = ("float32", "bfloat16", "int8", "int4")
    traits = {
        name: {
            precision: Traits(
                text_s=0.1 / source.choice((0.2, 0.5, 1, 2, 3, 5, 8, 12)) * source.uniform(0.8, 1),
                prepare_s=source.uniform(0.1, 5),
                flips=source.choice((0, 0, 0.05)),
                thread_gain=source.uniform(0.4, 0.9),
            )
            for precision in precisions[:count]
        }
        for name, count in names.items()
    }
    return planted_engines(clock, {"transformers": BASELINE, **traits})


@pytest.mark.parametrize("seed", range(8))
def test_it_is_within_3_percent_of_trying_everything_in_a_fifth_of_the_time(
    trained_model, many_texts, clock, seed
):
    engines = many_variants(clock, seed)
    search = planted_search(config(), trained_model, engines, clock, many_texts, cores=4)
    search.run()
    assert search.chosen is not None
    chosen = search.chosen.variant
    passes = sum(len(block["order"]) for block in search.comparisons[0].blocks)
    texts = len(search.chosen.texts)
    everything = {
        (name, precision, threads): true_pass_s(engine, precision, threads, texts, Batching())
        for name, engine in engines.items()
        for precision in engine.precisions
        for threads in (4, 2)
    }
    keeping_quality = {
        key: pass_s
        for key, pass_s in everything.items()
        if engines[key[0]].traits[key[1]].flips == 0
    }
    found_s = everything[chosen.engine, chosen.precision, chosen.threads]
    assert found_s <= 1.03 * min(keeping_quality.values())
    prepare_s = sum(
        2 * one.prepare_s for engine in engines.values() for one in engine.traits.values()
    )
    exhaustive_s = prepare_s + passes * sum(everything.values())
    assert search.spent_s() <= 0.2 * exhaustive_s


def test_a_fast_variant_that_answers_otherwise_is_turned_down(trained_model, many_texts, clock):
    engines = planted_engines(
        clock,
        {
            "transformers": BASELINE,
            "other": {
                "int8": Traits(text_s=0.01, flips=0.05),
                "bfloat16": Traits(text_s=0.03),
            },
        },
    )
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:bfloat16"
    assert statuses(search)["other:int8"] == "lossy"
    lossy = next(one for one in search.entries if one.status == "lossy")
    assert "no number of texts would bring that to 0.50%" in lossy.reason
    assert lossy.quality is not None
    assert lossy.quality["texts"] < 450  # it did not go on to the end


def test_those_that_raced_with_the_chosen_one_move_with_its_last_figure(
    trained_model, many_texts, clock
):
    quick = {"int8": Traits(text_s=0.02), "bfloat16": Traits(text_s=0.022)}
    engines = planted_engines(clock, {"transformers": BASELINE, "other": quick})
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    compare = search.steps.compare

    def compare_on_a_busier_machine(*arguments):
        found = compare(*arguments)
        return replace(found, ratio=1.5 * found.ratio)

    search.steps.compare = compare_on_a_busier_machine
    search.run()
    ratios = {one.variant.name: one.ratio for one in search.entries}
    assert ratios["other:int8"] == pytest.approx(1.5 * 0.2, rel=0.02)
    assert ratios["other:bfloat16"] == pytest.approx(1.5 * 0.22, rel=0.02)
    assert search.baseline.ratio == 1
    beside = next(one for one in search.entries if one.status == "runner-up")
    assert beside.interval is not None
    assert beside.interval[0] <= beside.ratio <= beside.interval[1]


def test_those_that_never_raced_with_the_chosen_one_keep_their_figures():
    winner, other, aside = (
        Entry(variant=baseline_variant(threads), ratio=0.5, interval=(0.4, 0.6), status="accepted")
        for threads in (1, 2, 3)
    )
    _move_with(winner, 1.5, [[winner, other], [other, aside]])
    assert [one.ratio for one in (winner, other, aside)] == [0.75, 0.75, 0.5]
    assert other.interval == pytest.approx((0.6, 0.9))
    assert aside.interval == (0.4, 0.6)


def test_contenders_are_halved_and_the_rounds_double(tiny_model, many_texts, clock):
    quick = {f"int{bits}": Traits(text_s=0.001 + bits * 1e-5) for bits in range(1, 8)}
    engines = planted_engines(clock, {"transformers": BASELINE, "other": quick})
    search = planted_search(config(), tiny_model, engines, clock, many_texts)
    search.run()
    races = [name for name in search.steps.journal.names if name.startswith("race of")]
    assert [(name.split()[2], name.count("other:")) for name in races] == [("4", 6), ("8", 3)]
    assert search.chosen is not None
    assert search.chosen.variant.precision == "int1"
    assert next(one for one in search.entries if one.variant.precision == "int7").reason == (
        "6 that keep quality are faster"
    )


def test_nothing_is_chosen_if_all_that_is_faster_loses_too_much(trained_model, many_texts, clock):
    traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.01, flips=0.02)}}
    engines = planted_engines(clock, traits)
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    search.run()
    assert search.chosen is None
    message = why_none(search)
    assert message.startswith("no variant is within the quality budget of 0.50%; other:int8 came")
    assert "Allow more with --max-quality-loss" in message


def test_too_few_texts_are_said_beforehand(trained_model, many_texts, clock):
    traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.01)}}
    search = planted_search(
        config(), trained_model, planted_engines(clock, traits), clock, many_texts[:50]
    )
    search.run()
    assert search.chosen is None
    assert any("it takes 598 texts to be sure" in note for note in search.notes)
    assert "598 texts like these would do for 0.50%" in why_none(search)


def test_on_random_weights_agreement_is_reported_and_decides_nothing(tiny_model, many_texts, clock):
    traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.01, flips=0.5)}}
    search = planted_search(config(), tiny_model, planted_engines(clock, traits), clock, many_texts)
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:int8"
    assert search.chosen.quality is not None
    assert not search.chosen.quality["is_judged"]
    assert search.chosen.quality["value"] < 0.7
    assert any(note.startswith("random weights") for note in search.notes)


def test_reasons_of_those_that_refuse_or_fail_are_kept(tiny_model, many_texts, clock):
    traits = {
        "transformers": BASELINE,
        "refusing": {"int8": Traits(text_s=0.01, refuses="needs a processor with AMX")},
        "out of the question": {"float32": Traits(text_s=0.01)},
        "slow": {"float32": Traits(text_s=0.4)},
    }
    engines = planted_engines(clock, traits)
    engines["out of the question"].refusal_reason = "takes no models of this kind"
    search = planted_search(config(), tiny_model, engines, clock, many_texts)
    search.run()
    told = {one.variant.name: (one.status, one.reason) for one in search.entries}
    assert told["refusing:int8"] == ("refused", "needs a processor with AMX")
    assert told["out of the question:float32"] == ("refused", "takes no models of this kind")
    assert told["slow:float32"][0] == "slower"
    assert told["slow:float32"][1] == "4.0 times as slow as transformers:float32"
    assert engines["out of the question"].prepared == []


@pytest.mark.parametrize("budget_s", [20.0, 60.0, 300.0])
@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_the_budget_is_kept(tiny_model, many_texts, clock, budget_s, objective):
    engines = many_variants(clock, 3)
    for engine in engines.values():
        for precision, traits in engine.traits.items():
            vars(traits)["prepare_s"] = 8.0 if precision != "float32" else 1.0
    search = planted_search(
        config(budget_s=budget_s, objective=objective),
        tiny_model,
        engines,
        clock,
        many_texts,
        cores=2,
    )
    search.run()
    assert search.chosen is not None
    assert search.spent_s() <= 1.1 * budget_s
    skipped = [one for one in search.entries if one.status == "skipped"]
    assert all("raise --budget" in one.reason for one in skipped)
    assert bool(skipped) == (budget_s < 100)


def test_sessions_are_closed_at_the_end_and_few_are_open_at_a_time(tiny_model, many_texts, clock):
    engines = many_variants(clock, 5)
    most_open = 0

    def watch(_):
        nonlocal most_open
        most_open = max(most_open, sum(one.open_sessions for one in engines.values()))

    search = planted_search(config(), tiny_model, engines, clock, many_texts)
    search.on_entry = watch
    search.run()
    assert sum(one.open_sessions for one in engines.values()) == 0
    assert most_open <= 8


def test_an_interrupted_search_goes_on_where_it_stopped(trained_model, many_texts, clock, tmp_path):
    path = tmp_path / "plan.search.jsonl"

    class Interrupted(PlantedEngine):
        def prepare(self, model, options):
            if options.precision == "int4":
                raise KeyboardInterrupt
            return super().prepare(model, options)

    engines = many_variants(clock, 1)
    whole = planted_search(config(), trained_model, engines, clock, many_texts)
    whole.run()
    engines = many_variants(clock, 1)
    fast = engines["fast"]
    engines["fast"] = Interrupted(name="fast", clock=clock, traits=fast.traits)
    first = planted_search(
        config(),
        trained_model,
        engines,
        clock,
        many_texts,
        journal=Journal(path, {"model": 1}, clock),
    )
    with pytest.raises(KeyboardInterrupt):
        first.run()
    tried = {one.variant.name for one in first.entries if one.ratio is not None}
    assert len(tried) > 2
    engines = many_variants(clock, 1)
    second = planted_search(
        config(),
        trained_model,
        engines,
        clock,
        many_texts,
        journal=Journal(path, {"model": 1}, clock),
    )
    assert second.spent_s() == pytest.approx(first.spent_s(), rel=0.2)
    second.run()
    assert any("goes on from an interrupted search" in note for note in second.notes)
    assert second.chosen is not None
    assert whole.chosen is not None
    assert second.chosen.variant == whole.chosen.variant
    prepared_again = [
        f"{engine.name}:{precision}" for engine in engines.values() for precision in engine.prepared
    ]
    assert len(set(prepared_again) & tried) < len(tried)


def test_a_smaller_batch_is_taken_where_memory_runs_out(tiny_model, clock):
    traits = {
        "transformers": BASELINE,
        "other": {"int8": Traits(text_s=0.01, call_s=0.01, most_together=5)},
    }
    alike = [f"text number {number}" for number in range(100)]
    search = planted_search(
        config(objective="throughput"), tiny_model, planted_engines(clock, traits), clock, alike
    )
    search.run()
    screened = next(one for one in search.entries if one.variant.engine == "other")
    assert screened.variant.batching.batch_size == 4
    assert screened.notes[0] == "out of memory with batch 64: batch 32"
    assert screened.notes[-1] == "out of memory with batch 8: batch 4"
    assert search.chosen is not None
    assert search.chosen.variant.batching.batch_size <= 5
    by_size = next(one for one in search.entries if one.variant.batching.order == "sorted")
    assert by_size.variant.batching.batch_size == 4
    assert all(one.status != "refused" for one in search.entries)


def test_shorter_texts_only_if_the_user_allows_it(tiny_model, many_texts, clock):
    class Short(PlantedEngine):
        def prepare(self, model, options):
            if options.max_length is None:
                raise OutOfMemoryError("out of memory: planted")
            return super().prepare(model, options)

    def search(**changes):
        engine = Short(name="transformers", clock=clock, traits=BASELINE)
        return planted_search(
            config(**changes), tiny_model, {"transformers": engine}, clock, many_texts
        )

    with pytest.raises(OutOfMemoryError, match="allow shorter ones with --allow-truncation TOKENS"):
        search().run()
    allowed = search(allow_truncation=64)
    allowed.run()
    assert any("texts are cut to 64 tokens" in note for note in allowed.notes)
    assert allowed.steps.sessions.options.max_length == 64


def test_texts_are_never_made_longer_for_want_of_memory(tiny_model, many_texts, clock):
    class Full(PlantedEngine):
        def prepare(self, model, options):
            raise OutOfMemoryError("out of memory: planted")

    engine = Full(name="transformers", clock=clock, traits=BASELINE)
    search = planted_search(
        config(max_length=32, allow_truncation=64),
        tiny_model,
        {"transformers": engine},
        clock,
        many_texts,
    )
    with pytest.raises(OutOfMemoryError, match="ran out of memory with single texts"):
        search.run()
    assert search.steps.sessions.options.max_length == 32


def test_engines_of_the_processor_are_tried_once_the_accelerator_is_left(
    tiny_model, many_texts, clock
):
    class OnProcessor(PlantedEngine):
        def refusal(self, model):
            return None if model.device == "cpu" else f"{model.reference} is on {model.device}"

    class Small(PlantedEngine):
        def prepare(self, model, options):
            if model.device != "cpu":
                raise OutOfMemoryError("out of memory: planted")
            return super().prepare(model, options)

    engines = {
        "transformers": Small(name="transformers", clock=clock, traits=BASELINE),
        "other": OnProcessor(name="other", clock=clock, traits={"int8": Traits(text_s=0.01)}),
    }
    elsewhere = replace(tiny_model, device="cuda:0")
    search = planted_search(config(), elsewhere, engines, clock, many_texts)
    search.steps.reload = lambda device: replace(tiny_model, device=device)
    search.run()
    assert any("everything runs on the processor" in note for note in search.notes)
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:int8"


def test_all_stays_relative_to_a_baseline_that_races(trained_model, many_texts, clock):
    close = {"int8": Traits(text_s=0.09), "bfloat16": Traits(text_s=0.095)}
    engines = planted_engines(clock, {"transformers": BASELINE, "other": close})
    search = planted_search(config(budget_s=3000.0), trained_model, engines, clock, many_texts)
    timed = search.steps._turns

    def turns_on_a_machine_that_slows_down(runs, rounds, hopeless):
        samples_s, failures = timed(runs, rounds, hopeless)
        slow = next(name for name in samples_s if name.startswith("transformers:float32"))
        return samples_s | {slow: [1.1 * one for one in samples_s[slow]]}, failures

    search.steps._turns = turns_on_a_machine_that_slows_down
    search.run()
    assert any(any(one.is_baseline for one in race) for race in search.raced)
    assert search.baseline.ratio == 1


def test_the_reference_in_other_batches_loses_nothing_by_definition(
    trained_model, many_texts, clock
):
    engines = planted_engines(clock, {"transformers": {"float32": Traits(text_s=0.01, call_s=0.5)}})
    search = planted_search(
        config(objective="throughput"), trained_model, engines, clock, many_texts[:100]
    )
    search.run()
    assert search.chosen is not None
    assert all(one.status != "lossy" for one in search.entries)
    assert not any(name.startswith("judge transformers") for name in search.steps.journal.names)


def test_a_search_that_goes_on_with_another_budget_times_its_own_texts(
    tiny_model, many_texts, clock, tmp_path
):
    journal = tmp_path / "search.jsonl"
    found = []
    for budget_s in (3000.0, 300.0):
        traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.03)}}
        search = planted_search(
            config(budget_s=budget_s),
            tiny_model,
            planted_engines(clock, traits),
            clock,
            many_texts,
            journal=Journal(journal, {}, clock),
        )
        search.run()
        found.append(search)
    assert len(found[0].screened) > len(found[1].screened)
    other = next(one for one in found[1].entries if one.variant.engine == "other")
    assert other.ratio == pytest.approx(0.3, rel=0.02)
    names = [one for one in found[1].steps.journal.names if one.startswith("screen other")]
    counts = [len(one.screened) for one in found]
    assert [f"on {count} texts" in name for count, name in zip(counts, names, strict=True)] == [
        True,
        True,
    ]


def test_what_takes_too_much_memory_is_not_chosen(tiny_model, many_texts, clock):
    traits = {
        "transformers": BASELINE,
        "large": {"int8": Traits(text_s=0.01)},
        "small": {"int8": Traits(text_s=0.012)},
    }
    search = planted_search(
        config(max_memory_bytes=10_000_000),
        tiny_model,
        planted_engines(clock, traits),
        clock,
        many_texts,
    )
    search.measure_memory = lambda one: 50_000_000 if one.engine == "large" else 5_000_000
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.engine == "small"
    large = next(one for one in search.entries if one.variant.engine == "large")
    assert (large.status, large.reason) == ("too large", "peak memory is 50 MB: 10 allowed")


def test_thread_counts_are_an_axis_of_their_own(tiny_model, many_texts, clock):
    traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.01, thread_gain=-0.2)}}
    search = planted_search(
        config(), tiny_model, planted_engines(clock, traits), clock, many_texts, cores=4
    )
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.threads == 2
    assert search.chosen.label == "other:int8 · batch 1 · 2 threads"
    beside_baseline = search.comparisons[0]
    assert beside_baseline.threads is None
    assert "threads differ, as the names say: 2 and 4" in beside_baseline.notes


@pytest.mark.parametrize(("flips", "label"), [(0.0, "padded to 5"), (0.2, "batch 1 ·")])
def test_single_texts_are_padded_to_a_shape_if_that_is_faster_and_keeps_quality(
    trained_model, clock, flips, label
):
    shaped = Traits(text_s=0.01, bucket_gain=0.1, bucket_flips=flips)
    traits = {"transformers": BASELINE, "openvino": {"int8": shaped}}
    texts = [f"five words are number {number}" for number in range(1000)]
    search = planted_search(
        config(), trained_model, planted_engines(clock, traits), clock, texts, cores=1
    )
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.name == "openvino:int8"
    assert label in search.chosen.label
    padded = next(one for one in search.entries if one.variant.batching.buckets)
    assert padded.is_accepted == (flips == 0)
    assert search.chosen.quality["loss_bound"] <= 0.005


def test_throughput_takes_the_batches_that_cost_least(tiny_model, many_texts, clock):
    traits = {
        "transformers": {"float32": Traits(text_s=0.05, call_s=0.05)},
        "other": {"int8": Traits(text_s=0.001, call_s=0.02)},
    }
    search = planted_search(
        config(objective="throughput"),
        tiny_model,
        planted_engines(clock, traits),
        clock,
        many_texts,
    )
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.batching.order == "packed"
    assert search.chosen.variant.batching.batch_size == 64
    tried = {one.variant.batching for one in search.entries}
    assert {one.batch_size for one in tried} == {1, 32, 64}
    assert {one.max_batch_tokens for one in tried} == {None, 128, 256, 512, 1024}


def test_engines_that_were_not_asked_for_are_only_measured_against(tiny_model, many_texts, clock):
    traits = {"transformers": BASELINE, "other": {"int8": Traits(text_s=0.2)}}
    engines = planted_engines(clock, traits)
    search = planted_search(
        config(engines=("other:int8",)),
        tiny_model,
        {"other": engines["other"], "transformers": engines["transformers"]},
        clock,
        many_texts,
    )
    choose = search.choose
    search.choose = lambda model: [one for one in choose(model) if one.engine == "other"]
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:int8"


def test_an_unknown_precision_is_refused(tiny_model, many_texts, clock):
    engines = planted_engines(clock, {"transformers": BASELINE})
    with pytest.raises(UsageError, match="engine=transformers:int3; transformers computes in"):
        planted_search(
            config(engines=("transformers:int3",)), tiny_model, engines, clock, many_texts
        )
