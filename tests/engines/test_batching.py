from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.engines.batch_costs import BatchCost
from ivme.engines.batching import (
    STRATEGIES,
    Batching,
    make_batches,
    options_for,
    padding_statistics,
    predict_all,
    resolve_batching,
)
from ivme.engines.protocol import EngineOptions, Prediction, StageSeconds
from ivme.errors import UsageError


class EchoSession:
    """Answers with the text itself; a text is as many tokens as it has letters."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.counted: list[list[str]] = []

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        self.calls.append(list(texts))
        return [Prediction(text=text) for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted.append(list(texts))
        return [len(text) for text in texts]

    def close(self) -> None:
        return None


@settings(deadline=None)  # a loaded machine is no failure
@given(
    lengths=st.lists(st.integers(1, 512), max_size=40),
    size=st.integers(1, 9),
    order=st.sampled_from(sorted(STRATEGIES)),
)
def test_every_text_is_in_exactly_one_batch(lengths: list[int], size: int, order: str) -> None:
    batches = make_batches(lengths, Batching(batch_size=size, order=order))
    positions = [at for batch in batches for at in batch.positions]

    assert sorted(positions) == list(range(len(lengths)))
    assert all(1 <= len(batch.positions) <= size for batch in batches)
    assert order == "packed" or len(batches) == -(-len(lengths) // size)


@settings(deadline=None)  # a loaded machine is no failure
@given(
    lengths=st.lists(st.integers(1, 512), max_size=40),
    size=st.integers(1, 9),
    tokens=st.integers(1, 1024),
    order=st.sampled_from(sorted(STRATEGIES)),
)
def test_a_token_budget_bounds_every_batch_of_more_than_one_text(
    lengths: list[int], size: int, tokens: int, order: str
) -> None:
    batching = Batching(batch_size=size, order=order, max_batch_tokens=tokens)
    batches = make_batches(lengths, batching)

    assert sorted(at for batch in batches for at in batch.positions) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.positions) <= size
        assert len(batch.positions) == 1 or len(batch.positions) * batch.padded_length <= tokens


@settings(deadline=None)  # a loaded machine is no failure
@given(
    lengths=st.lists(st.integers(1, 512), max_size=40),
    buckets=st.lists(st.integers(1, 600), min_size=1, max_size=6, unique=True).map(sorted),
    order=st.sampled_from(sorted(STRATEGIES)),
)
def test_a_bucketed_batch_has_the_length_of_a_bucket_that_holds_it(
    lengths: list[int], buckets: list[int], order: str
) -> None:
    batching = Batching(batch_size=4, order=order, padding="bucketed", buckets=tuple(buckets))

    for batch in make_batches(lengths, batching):
        longest = max(lengths[at] for at in batch.positions)
        assert batch.padded_length >= longest
        assert batch.padded_length in (*buckets, longest)
        assert not any(longest <= bucket < batch.padded_length for bucket in buckets)


@settings(deadline=None)  # a loaded machine is no failure
@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=40), size=st.integers(1, 9))
def test_sorting_by_length_never_pads_more(lengths: list[int], size: int) -> None:
    padded = {}
    for order in ("given", "sorted"):
        batches = make_batches(lengths, Batching(batch_size=size, order=order))
        statistics = padding_statistics(lengths, batches)
        assert statistics.padded_tokens >= statistics.real_tokens == sum(lengths)
        padded[order] = statistics.padded_tokens

    assert padded["sorted"] <= padded["given"]


@pytest.mark.parametrize(
    ("lengths", "sizes"), [([5, 1, 1], [1, 2]), ([5, 5, 1], [2, 1]), ([9, 9, 5, 1, 1], [2, 1, 2])]
)
def test_the_batch_that_is_not_full_goes_where_it_saves_padding(
    lengths: list[int], sizes: list[int]
) -> None:
    batches = make_batches(lengths, Batching(batch_size=2, order="sorted"))

    assert [len(batch.positions) for batch in batches] == sizes


@pytest.mark.parametrize("order", sorted(STRATEGIES))
def test_predictions_come_in_the_callers_order(order: str) -> None:
    texts = ["ccc", "a", "bb", "eeeee", "dddd"]
    session = EchoSession()
    predictions = predict_all(session, texts, Batching(batch_size=2, order=order))

    assert [prediction.text for prediction in predictions] == texts
    assert sorted(text for call in session.calls for text in call) == sorted(texts)


def test_texts_are_not_counted_where_batches_do_not_depend_on_it() -> None:
    session = EchoSession()
    predict_all(session, ["a", "bb"], Batching(batch_size=2))
    predict_all(session, ["ccc"], Batching(batch_size=2, order="packed"))

    assert session.counted == []
    predict_all(session, ["dd", "e"], Batching(batch_size=2, max_batch_tokens=4))
    assert session.counted == [["dd", "e"]]


def test_sorted_batches_hold_texts_of_like_length_the_longest_first() -> None:
    session = EchoSession()
    predict_all(session, ["a", "dddd", "bb", "ccc"], Batching(batch_size=2, order="sorted"))

    assert session.calls == [["dddd", "ccc"], ["bb", "a"]]


def test_known_lengths_are_not_counted_again() -> None:
    session = EchoSession()
    batching = Batching(batch_size=1, order="sorted")
    predict_all(session, ["a", "dddd"], batching, lengths=[9, 1])

    assert session.calls == [["a"], ["dddd"]]


def test_no_texts_give_no_predictions() -> None:
    assert predict_all(EchoSession(), [], Batching()) == []


def test_fixed_padding_computes_the_same_length_everywhere() -> None:
    batching = Batching(batch_size=2, padding="fixed", pad_to=16)
    statistics = padding_statistics([3, 5, 8], make_batches([3, 5, 8], batching))

    assert statistics.padded_tokens == 48
    assert statistics.padding_share == pytest.approx(2 / 3)
    assert options_for(EngineOptions(), batching).pad_to == 16


def test_fixed_padding_without_a_length_takes_the_models_own() -> None:
    assert resolve_batching(Batching(padding="fixed"), 512).pad_to == 512
    assert resolve_batching(Batching(), 512).pad_to is None
    with pytest.raises(UsageError, match="without a length limit; give pad_to"):
        resolve_batching(Batching(padding="fixed"), None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected 1 or more"),
        ({"max_batch_tokens": 0}, "max_batch_tokens=0; expected 1 or more"),
        ({"streams": 0}, "streams=0; expected 1 or more"),
        ({"order": "random"}, "order='random'; expected one of given, sorted, packed"),
        ({"padding": "none"}, "padding='none'; expected one of dynamic, bucketed, fixed"),
        ({"pad_to": 8}, "pad_to=8 needs padding='fixed'"),
        ({"padding": "bucketed"}, "padding='bucketed' and buckets go together"),
        ({"buckets": (8,)}, "padding='bucketed' and buckets go together"),
        ({"padding": "bucketed", "buckets": (8, 8)}, r"\(8, 8\); expected rising lengths"),
        ({"padding": "bucketed", "buckets": (0, 8)}, r"\(0, 8\); expected rising lengths"),
        ({"doubling": True}, "doubling needs order='packed', not 'given'"),
        ({"cost": BatchCost(call_s=1, token_s=1)}, "cost needs order='packed', not 'given'"),
    ],
)
def test_values_that_are_not_allowed_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Batching(**arguments)
