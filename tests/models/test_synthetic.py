import pytest

from ivme.errors import WorkloadError
from ivme.models.loading import load_model
from ivme.models.synthetic import put_mask_in, synthetic_workload

TINY = ("preset:bert-tiny", "preset:gpt2-tiny", "preset:t5-tiny")


@pytest.fixture(scope="module", params=TINY)
def tokenizer(request: pytest.FixtureRequest):
    return load_model(request.param).tokenizer


@pytest.mark.parametrize("tokens", [3, 4, 32, 127, 128, 512])
def test_texts_come_to_exactly_the_tokens_asked_for(tokenizer, tokens: int) -> None:
    workload = synthetic_workload(tokenizer, tokens=tokens, count=5)

    assert [len(tokenizer(text)["input_ids"]) for text in workload.texts] == [tokens] * 5
    assert workload.name == f"{tokens}-tokens"


def test_texts_differ_and_repeat_with_their_seed(tokenizer) -> None:
    workload = synthetic_workload(tokenizer, tokens=32, count=8)

    assert len(set(workload.texts)) == 8
    assert synthetic_workload(tokenizer, tokens=32, count=8) == workload
    assert synthetic_workload(tokenizer, tokens=32, count=8, seed=1) != workload


def test_a_mask_counts_as_one_of_the_tokens() -> None:
    tokenizer = load_model("preset:bert-tiny").tokenizer
    workload = synthetic_workload(tokenizer, tokens=16, count=4, with_mask=True)

    for text in workload.texts:
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == 16
        assert ids.count(tokenizer.mask_token_id) == 1


@pytest.mark.parametrize("tokens", [0, 2, 513])
def test_lengths_that_the_model_does_not_take_are_refused(tokens: int) -> None:
    with pytest.raises(WorkloadError, match=rf"tokens={tokens}; expected 3 to 512"):
        synthetic_workload(load_model("preset:bert-tiny").tokenizer, tokens=tokens, count=1)


def test_a_mask_replaces_one_word_near_the_start() -> None:
    texts = ("one", "one two three", "has [MASK] already", " ".join(["word"] * 100))
    masked = put_mask_in(texts, "[MASK]")

    assert masked[:3] == ("[MASK]", "one [MASK] three", "has [MASK] already")
    assert masked[3].split().index("[MASK]") < 8
    assert len(masked[3].split()) == 100
