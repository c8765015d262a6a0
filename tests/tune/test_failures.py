"""A variant that fails in the middle of a search leaves; the search goes on."""

import gc
import math
from dataclasses import replace

import pytest
from planted import (
    PlantedEngine,
    PlantedSession,
    StillClock,
    Traits,
    planted_engines,
    planted_search,
)

from ivme.bench.configuration import TextSource
from ivme.bench.listening import Listener
from ivme.engines.batching import make_batches
from ivme.errors import OutOfMemoryError, UsageError
from ivme.measure.compare import compare
from ivme.models.loading import load_model
from ivme.tune.configuration import TuneConfig
from ivme.tune.entries import Entry
from ivme.tune.space import first_batching
from ivme.tune.tuning import why_none

BASELINE = {"float32": Traits(text_s=0.1)}
QUICK = {"int8": Traits(text_s=0.02), "bfloat16": Traits(text_s=0.024)}


def config(**changes) -> TuneConfig:
    settings = {"model": "made up", "texts": TextSource(file="corpus"), "budget_s": 300.0}
    return TuneConfig(**{**settings, **changes})


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection():
    """Leave what was there before out of collections: a search collects after each variant."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def engines(clock) -> dict[str, PlantedEngine]:
    return planted_engines(clock, {"transformers": BASELINE, "other": QUICK})


def told(search) -> dict[str, tuple[str, str]]:
    return {one.variant.name: (one.status, one.reason) for one in search.entries}


def break_at(search, engine: PlantedEngine, words: str, precisions: set[str]) -> None:
    """Let the precisions fail from when the search says that it does this."""

    def tell(text: str) -> None:
        if words in text:
            engine.broken |= precisions

    search.listener = Listener(tell=tell)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("judging other:int8", "no answers to judge: RuntimeError: planted break"),
        ("threads of other:int8", "RuntimeError: planted break"),
        ("final:", "RuntimeError: planted break"),
        ("and the baseline", "RuntimeError: planted break"),
    ],
)
def test_one_that_fails_in_any_step_leaves_and_the_next_is_chosen(
    trained_model, many_texts, clock, engines, words, reason
):
    search = planted_search(config(), trained_model, engines, clock, many_texts, cores=2)
    break_at(search, engines["other"], words, {"int8"})
    search.run()
    refused = {one.reason for one in search.entries if one.status == "refused"}
    assert refused == {reason}
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:bfloat16"
    assert search.comparisons


def test_a_race_in_which_all_fail_ends_with_their_reasons(
    trained_model, many_texts, clock, engines
):
    search = planted_search(
        config(engines=("other",)), trained_model, engines, clock, many_texts, cores=2
    )
    break_at(search, engines["other"], "threads of other:int8", {"int8", "bfloat16"})
    search.run()
    assert search.chosen is None
    message = why_none(search)
    assert message.startswith("no variant ran: ")
    assert "other:int8: RuntimeError: planted break" in message
    assert "other:bfloat16: RuntimeError: planted break" in message


def test_one_that_fails_in_the_middle_of_a_race_leaves_the_others_racing(
    trained_model, many_texts, clock, engines, monkeypatch
):
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    search._start()
    search._screen()
    one, failing = (entry for entry in search.entries if entry.variant.engine == "other")
    calls = 2 * len(search.texts)  # in the second round

    def predict(session, texts, stages=None, inner=PlantedSession.predict):
        nonlocal calls
        if session.precision == failing.variant.precision:
            calls -= 1
            if calls < 0:
                raise RuntimeError("planted break")
        return inner(session, texts, stages)

    monkeypatch.setattr(PlantedSession, "predict", predict)
    ran = search.race([one, failing], 4)
    assert ran == [one]
    assert len(one.samples_s) == 4
    assert (failing.status, failing.reason) == ("refused", "RuntimeError: planted break")


def test_batches_are_cut_by_the_usual_cost_where_it_cannot_be_measured(
    tiny_model, many_texts, clock, engines, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError("planted break")

    monkeypatch.setattr("ivme.tune.steps.measure_cost", fail)
    search = planted_search(config(objective="throughput"), tiny_model, engines, clock, many_texts)
    search.run()
    assert search.chosen is not None
    note = "batches are cut by the usual cost: RuntimeError: planted break"
    assert note in search.chosen.notes


@pytest.mark.parametrize("fails", ["refuses", "breaks"])
def test_a_model_that_the_baseline_cannot_run_is_refused_with_the_reason(
    tiny_model, many_texts, clock, fails
):
    traits = {"float32": Traits(text_s=0.1, refuses="a planted reason")}
    engines = planted_engines(clock, {"transformers": traits if fails == "refuses" else BASELINE})
    engines["transformers"].broken |= {"float32"}
    search = planted_search(config(), tiny_model, engines, clock, many_texts)
    reason = "a planted reason" if fails == "refuses" else "RuntimeError: planted break"
    with pytest.raises(UsageError, match=f"transformers:float32, which .* cannot run it: {reason}"):
        search.run()


def test_the_reference_answers_in_batches_that_fit(trained_model, many_texts, clock):
    traits = {"float32": Traits(text_s=0.1, most_together=3)}
    engines = planted_engines(clock, {"transformers": traits, "other": QUICK})
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    search.run()
    assert search.chosen is not None
    assert search.chosen.variant.name == "other:int8"
    assert "out of memory with the reference's batches of 8: batches of 4" in search.notes
    assert "out of memory with the reference's batches of 4: batches of 2" in search.notes


def test_smaller_batches_are_tried_where_judging_runs_out_of_memory(
    trained_model, many_texts, clock, engines
):
    search = planted_search(
        config(objective="throughput"), trained_model, engines, clock, many_texts
    )
    judge = search.steps._judged

    def judge_with_little_memory(variant, count):
        if variant.batching.batch_size > 16:
            raise OutOfMemoryError("out of memory: planted")
        return judge(variant, count)

    search.steps._judged = judge_with_little_memory
    search.run()
    assert search.chosen is not None
    first = next(one for one in search.entries if one.variant.name == "other:int8")
    assert first.variant.batching.batch_size == 16
    assert first.notes == (
        "out of memory with batch 64: batch 32",
        "out of memory with batch 32: batch 16",
    )


def test_one_that_does_not_fit_beside_another_is_refused(tiny_model, many_texts, clock):
    class Large(PlantedEngine):
        def prepare(self, model, options):
            if any(one.open_sessions for one in engines.values()):
                raise OutOfMemoryError("out of memory: planted")
            return super().prepare(model, options)

    engines = {
        "transformers": Large(name="transformers", clock=clock, traits=BASELINE),
        "other": Large(name="other", clock=clock, traits={"int8": Traits(text_s=0.01)}),
    }
    search = planted_search(config(), tiny_model, engines, clock, many_texts)
    search.run()
    status, reason = told(search)["other:int8"]
    assert (status, "out of memory: planted" in reason) == ("refused", True)
    assert engines["other"].open_sessions == 0


def test_first_tokens_are_timed_by_the_batch(many_texts, clock):
    generating = load_model("preset:gpt2-tiny")
    traits = {"float32": Traits(text_s=0.01, call_s=0.5, token_s=0.2)}
    engines = planted_engines(clock, {"transformers": traits})
    search = planted_search(
        config(objective="throughput", new_tokens=5), generating, engines, clock, many_texts
    )
    search._start()
    packed = replace(search.steps.baseline, batching=first_batching("throughput"))
    texts = [text[:length] for text in many_texts for length in (30, 300, 3000)][:96]
    session = search.steps.sessions.get(packed)
    batches = make_batches(session.count_tokens(texts), packed.batching)
    assert len(batches) > 2
    whole_s = len(batches) * (0.5 + 4 * 0.2) + 96 * 0.01
    phases = search.steps.phases(packed, texts, [whole_s])
    assert phases["first_token_s"] == pytest.approx(0.5 + 96 * 0.01 / len(batches))
    assert phases["next_token_s"] == pytest.approx(0.2)


def test_an_interrupted_comparison_interrupts_the_search(
    trained_model, many_texts, clock, engines, monkeypatch
):
    def interrupted(*arguments, **settings):
        return [replace(one, stopped_by="interrupted") for one in compare(*arguments, **settings)]

    monkeypatch.setattr("ivme.tune.steps.compare", interrupted)
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert search.chosen is None


def test_a_race_on_other_texts_is_another_step(tiny_model, many_texts, clock, engines):
    search = planted_search(config(), tiny_model, engines, clock, many_texts, cores=2)
    search.run()
    names = [name for name in search.steps.journal.names if name.startswith("race of")]
    assert names
    assert all(f"rounds on {len(search.texts)} texts: " in name for name in names)


def test_a_bound_that_cannot_be_told_is_not_the_closest(trained_model, many_texts, clock, engines):
    search = planted_search(config(), trained_model, engines, clock, many_texts)
    search.entries = [
        Entry(variant=search.steps.baseline, status="lossy", quality={"loss_bound": math.nan}),
        Entry(
            variant=replace(search.steps.baseline, threads=2),
            status="lossy",
            quality={"loss_bound": 0.2},
            reason="loses 20%",
        ),
    ]
    assert "came closest: loses 20%" in why_none(search)
