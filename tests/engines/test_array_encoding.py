"""Arrays from a copy of a tokenizer's core must be those of the tokenizer itself."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ivme.engines.array_encoding import array_encoder, has_own_code
from ivme.engines.encoding import count_tokens, encode_arrays, token_limits
from ivme.engines.protocol import EngineOptions
from ivme.models.loading import LoadedModel

Models = dict[str, LoadedModel]
HARD = ("", "naïve café 🎉 İstanbul", "[MASK] <|endoftext|> </s>", "  two  spaces\n", "word " * 90)
OPTIONS = (
    EngineOptions(),
    EngineOptions(max_length=16),
    EngineOptions(max_length=64, pad_to=32),
    EngineOptions(buckets=(24, 128)),
)


@pytest.mark.parametrize("kind", ["classifier", "causal", "seq2seq"])
@pytest.mark.parametrize("options", OPTIONS)
def test_arrays_are_those_of_the_tokenizer(
    models: Models, texts: tuple[str, ...], kind: str, options: EngineOptions
) -> None:
    model = models[kind]
    given = texts + (HARD[1:] if kind == "causal" else HARD)
    limits = token_limits(model, options)
    expected = model.tokenizer(
        list(given),
        return_tensors="np",
        truncation=True,
        max_length=limits.cut_to,
        padding="max_length" if options.pad_to or options.buckets else "longest",
    )
    if options.buckets:  # the tokenizer pads to the limit; the longest text fills the last bucket
        left = model.tokenizer.padding_side == "left"
        expected = {k: v[:, -128:] if left else v[:, :128] for k, v in expected.items()}

    arrays = encode_arrays(model, given, limits)

    assert array_encoder(model.tokenizer, limits.cut_to) is not None
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, expected[name])
    unpadded = model.tokenizer(list(given), truncation=True, max_length=limits.max_length)
    assert count_tokens(model, given, limits) == [len(ids) for ids in unpadded["input_ids"]]


def test_a_tokenizer_with_methods_of_its_own_is_left_to_them(models: Models) -> None:
    tokenizer = models["classifier"].tokenizer

    class Renamed(type(tokenizer)):  # type: ignore[misc]
        def __init__(self) -> None:
            """Change nothing."""

    class Shouting(Renamed):
        def tokenize(self, text: str) -> list[str]:
            return [text.upper()]

    assert not has_own_code(tokenizer)
    assert not has_own_code(Renamed())
    assert has_own_code(Shouting())
    assert array_encoder(Shouting(), 8) is None


def test_tokens_added_later_are_seen(models: Models) -> None:
    import copy

    model = models["classifier"]
    tokenizer = copy.deepcopy(model.tokenizer)
    before = array_encoder(tokenizer, 16)
    tokenizer.add_tokens(["qwertz"])
    after = array_encoder(tokenizer, 16)

    assert before is not None
    assert after is not None
    assert (before.lengths(["qwertz"])[0], after.lengths(["qwertz"])[0]) != (3, 3)
    assert after.lengths(["qwertz"]) == [3]


def test_threads_with_other_limits_do_not_disturb_each_other(
    models: Models, texts: tuple[str, ...]
) -> None:
    """Through the tokenizer itself this loses its padding or stops within a few calls."""
    model = models["classifier"]
    limits = [token_limits(model, EngineOptions(max_length=length)) for length in (4, 8, 512)]

    def shapes(number: int) -> tuple[list[int], tuple[int, ...]]:
        mine = limits[number % 3]
        return count_tokens(model, texts, mine), encode_arrays(model, texts, mine)[
            "input_ids"
        ].shape

    alone = [shapes(number) for number in range(3)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(shapes, range(300)))

    assert together == [alone[number % 3] for number in range(300)]
