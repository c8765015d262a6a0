from dataclasses import replace

import pytest
from planted import StillClock, Traits, planted_engines

from ivme.bench.configuration import TextSource
from ivme.engines.batch_costs import USUAL_COST
from ivme.engines.batching import Batching
from ivme.errors import UsageError
from ivme.tune.configuration import TuneConfig
from ivme.tune.space import (
    baseline_variant,
    choices_for,
    not_installed,
    other_batchings,
    other_threads,
    shapes_for,
    thread_counts,
    why_unusable,
)
from ivme.tune.variants import Variant

PLAIN = Traits(text_s=0.01)


def config(**changes) -> TuneConfig:
    return TuneConfig(**{"model": "m", "texts": TextSource(file="corpus"), **changes})


@pytest.fixture
def engines():
    traits = {
        "pipeline": {"float32": PLAIN},
        "openvino": {"float32": PLAIN, "int8": PLAIN, "int8-static": PLAIN},
        "new": {"int2": PLAIN},
        "transformers": {"float32": PLAIN, "bfloat16": PLAIN},
    }
    return planted_engines(StillClock(), traits)


def test_the_likeliest_come_first_and_the_pipeline_last(tiny_model, engines):
    names = [f"{one.engine}:{one.precision}" for one in choices_for(tiny_model, engines, ())]
    assert names[:2] == ["transformers:float32", "openvino:int8-static"]
    assert names[-2:] == ["new:int2", "pipeline:float32"]
    assert len(names) == 7


def test_engines_and_precisions_are_taken_by_name(tiny_model, engines):
    wanted = ("openvino:int8", "transformers")
    picked = {name: engines[name] for name in ("openvino", "transformers")}
    names = {f"{one.engine}:{one.precision}" for one in choices_for(tiny_model, picked, wanted)}
    assert names == {"openvino:int8", "transformers:float32", "transformers:bfloat16"}


def test_a_library_that_is_missing_is_named_with_what_brings_it():
    missing = ModuleNotFoundError("No module", name="bitsandbytes.functional")
    assert not_installed("bitsandbytes", missing) == (
        "bitsandbytes needs bitsandbytes, which is not installed: pip install 'ivme[gpu]'"
    )
    missing = ModuleNotFoundError("No module", name="openvino")
    assert why_unusable("openvino", missing).endswith("not installed: pip install openvino")
    assert why_unusable("any", ValueError("first\nsecond")) == "ValueError: first"


def test_single_texts_are_padded_to_a_few_shapes_where_an_engine_compiles_these():
    assert shapes_for("openvino", [128] * 9) == [Batching(padding="bucketed", buckets=(128,))]
    assert shapes_for("onnxruntime", [128] * 9) == []
    assert shapes_for("openvino", range(1, 200)) == []  # too many lengths for few shapes
    assert shapes_for("openvino", []) == []


def test_throughput_has_several_batchings():
    several = other_batchings(config(objective="throughput"), USUAL_COST)
    assert Batching() in several
    assert several[0] == Batching(batch_size=64, order="packed", cost=USUAL_COST)


def test_threads_are_all_cores_and_half_unless_given():
    assert thread_counts(config(), 8) == (8, 4)
    assert thread_counts(config(), 1) == (1,)
    assert thread_counts(config(threads=(3,)), 8) == (3,)


def test_for_throughput_a_variant_is_also_split_into_streams():
    variant = baseline_variant(4)
    assert [one.threads for one in other_threads(variant, (4, 2), "latency")] == [2]
    *_, split = other_threads(variant, (4, 2), "throughput")
    assert (split.threads, split.batching.streams) == (1, 4)
    assert split.label == "transformers:float32 · batch 1 in 4 streams · 1 thread"


def test_labels_say_what_differs():
    batching = Batching(batch_size=32, order="sorted", padding="bucketed", buckets=(8, 16))
    variant = Variant(engine="compile", precision="autocast", threads=2, batching=batching)
    assert variant.label == "compile:autocast · batch 32 sorted padded to 8/16 · 2 threads"
    assert variant.as_settings()["buckets"] == (8, 16)
    many = replace(variant, batching=replace(batching, buckets=tuple(range(1, 9))))
    assert "padded to 8 lengths" in many.label


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "speed"}, "objective='speed'; expected one of latency, throughput"),
        ({"budget_s": 0}, "a budget of 0 s; expected more than 0"),
        ({"threads": (0,)}, "threads=0; expected 1 or more"),
        ({"max_quality_loss": -0.1}, "a quality loss of -0.1; expected 0 to 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        config(**changes)
