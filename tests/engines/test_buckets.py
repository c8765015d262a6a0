import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.engines.batching import Batching, make_batches, padding_statistics
from ivme.engines.buckets import choose_buckets, few_lengths, pad_to_bucket, round_up
from ivme.engines.encoding import TokenLimits, encode, encode_arrays
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=40)


def padded_tokens(lengths: list[int], buckets: tuple[int, ...]) -> int:
    return sum(pad_to_bucket(length, buckets) for length in lengths)


@settings(deadline=None)  # a loaded machine is no failure
@given(lengths=LENGTHS, share=st.floats(0, 0.5))
def test_chosen_buckets_keep_padding_within_the_share(lengths: list[int], share: float) -> None:
    buckets = choose_buckets(lengths, max_padding_share=share)

    assert buckets == tuple(sorted(set(buckets)))
    assert buckets[-1] == max(lengths)
    assert padded_tokens(lengths, buckets) <= sum(lengths) / (1 - share) + 1e-9


@settings(deadline=None)  # a loaded machine is no failure
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30), count=st.integers(1, 4))
def test_no_other_buckets_of_the_same_number_pad_less(lengths: list[int], count: int) -> None:
    buckets = choose_buckets(lengths, max_padding_share=0, max_buckets=count)
    others = itertools.combinations(sorted(set(lengths)), len(buckets))
    least = min(padded_tokens(lengths, other) for other in others if other[-1] == max(lengths))

    assert len(buckets) <= count
    assert padded_tokens(lengths, buckets) == least


def test_a_length_beyond_the_last_bucket_stays_as_it_is() -> None:
    assert [pad_to_bucket(length, (8, 16)) for length in (1, 8, 9, 16, 17)] == [8, 8, 16, 16, 17]
    assert choose_buckets([]) == ()


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_ways_of_encoding_pad_to_the_bucket(
    models: dict[str, LoadedModel],
    texts: tuple[str, ...],
    side: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = models["classifier"]
    monkeypatch.setattr(model.tokenizer, "padding_side", side)
    plain = TokenLimits(max_length=64, pad_to=None)
    limits = TokenLimits(max_length=64, pad_to=None, buckets=(4, 50, 64))
    short = encode_arrays(model, texts[:2], plain)
    arrays, tensors = encode_arrays(model, texts[:2], limits), encode(model, texts[:2], limits)

    for name, array in arrays.items():
        assert array.shape == (2, 50)
        np.testing.assert_array_equal(array, tensors[name].numpy())
        width = short[name].shape[1]
        kept = array[:, -width:] if side == "left" else array[:, :width]
        np.testing.assert_array_equal(kept, short[name])
    assert arrays["attention_mask"].sum() == short["attention_mask"].sum()
    assert set(np.unique(arrays["input_ids"][arrays["attention_mask"] == 0])) == {
        model.tokenizer.pad_token_id
    }


def test_answers_do_not_depend_on_the_bucket(
    models: dict[str, LoadedModel], texts: tuple[str, ...]
) -> None:
    engine = get_engine("transformers")
    plain = engine.prepare(models["classifier"], EngineOptions())
    padded = engine.prepare(models["classifier"], EngineOptions(buckets=(64, 128)))

    for expected, found in zip(plain.predict(texts), padded.predict(texts), strict=True):
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_the_pipeline_says_that_it_has_no_buckets(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(RefusedError, match="the pipeline pads by itself, not to buckets"):
        get_engine("pipeline").prepare(models["classifier"], EngineOptions(buckets=(64,)))


@given(length=st.integers(1, 5000))
def test_rounding_up_pads_little_and_leaves_few_lengths(length: int) -> None:
    assert length <= round_up(length) <= length + max(3, length // 16)
    assert round_up(round_up(length)) == round_up(length)


@given(most=st.integers(1, 5000))
def test_few_lengths_rise_by_at_most_an_eighth_and_end_where_texts_do(most: int) -> None:
    lengths = few_lengths(most)
    assert lengths[-1] == most
    for low, high in itertools.pairwise(lengths):
        assert low < high <= low + max(2, low // 8)


def test_few_lengths_doubled_are_few_lengths() -> None:
    lengths = few_lengths(512)
    assert len(lengths) == 48
    assert {2 * length for length in lengths if length <= 256} <= set(lengths)


def test_rounding_up_keeps_to_buckets_and_to_the_limit() -> None:
    limits = TokenLimits(max_length=510, pad_to=None, buckets=(7, 30), rounds_up=True)
    assert [limits.padded(length) for length in (3, 7, 30, 31, 509, 510)] == [
        7,
        7,
        30,
        32,
        510,
        510,
    ]
    assert TokenLimits(max_length=510, pad_to=99, rounds_up=True).padded(31) == 99


def test_openvino_counts_what_it_pads_for_its_shapes(
    models: dict[str, LoadedModel],
) -> None:
    classifier = models["classifier"]
    texts = ["a b c", "a b c d e f g"]
    session = get_engine("openvino").prepare(classifier, EngineOptions(precision="float32"))
    singly = get_engine("transformers").prepare(classifier, EngineOptions())
    lengths = session.count_tokens(texts)
    batches = make_batches(lengths, Batching())
    found = padding_statistics(lengths, batches, session)
    assert found.padded_tokens == sum(map(round_up, lengths)) > sum(lengths)
    assert padding_statistics(lengths, batches, singly).padded_tokens == sum(lengths)
    for text in texts:
        [answer], [expected] = session.predict([text]), singly.predict([text])
        np.testing.assert_allclose(answer.probabilities, expected.probabilities, atol=1e-5)
