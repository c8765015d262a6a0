import os
import subprocess
import sys

import pytest

from ivme.models.corpus import corpus_documents
from ivme.models.tokenizers import FAMILIES, T5_SENTINELS, train_tokenizer

SIZE = 6000
TRAIN = f"""
from ivme.models.corpus import corpus_documents
from ivme.models.tokenizers import FAMILIES, train_tokenizer
for family in FAMILIES:
    tokenizer = train_tokenizer(family, {SIZE}, corpus_documents()[:400], 128)
    print(sorted(tokenizer.get_vocab().items()))
"""
SENTENCE = "Return the name of the file, or None if it was not found."


@pytest.fixture(scope="module")
def tokenizers():
    texts = corpus_documents()[:400]
    return {family: train_tokenizer(family, SIZE, texts, 128) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vocabulary_has_exactly_the_size_asked_for(tokenizers, family: str) -> None:
    assert len(tokenizers[family]) == SIZE
    assert sorted(tokenizers[family].get_vocab().values()) == list(range(SIZE))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_comes_back_from_its_tokens(tokenizers, family: str) -> None:
    tokenizer = tokenizers[family]
    back = tokenizer.decode(tokenizer(SENTENCE)["input_ids"], skip_special_tokens=True)

    expected = SENTENCE.lower() if family == "wordpiece" else SENTENCE
    assert back.replace(" ", "") == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("family", "first", "last"),
    [
        ("wordpiece", "[CLS]", "[SEP]"),
        ("roberta", "<s>", "</s>"),
        ("gpt2", "Return", "."),
        ("unigram", "▁Return", "</s>"),
    ],
)
def test_texts_get_the_special_tokens_of_their_architecture(
    tokenizers, family: str, first: str, last: str
) -> None:
    tokens = tokenizers[family].convert_ids_to_tokens(tokenizers[family](SENTENCE)["input_ids"])

    assert (tokens[0], tokens[-1]) == (first, last)


def test_special_tokens_stand_where_the_originals_have_them(tokenizers) -> None:
    assert tokenizers["gpt2"].eos_token_id == SIZE - 1
    assert tokenizers["roberta"].convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [
        0,
        1,
        2,
        3,
    ]
    assert tokenizers["roberta"].mask_token_id == SIZE - 1
    assert tokenizers["wordpiece"].pad_token_id == 0
    assert tokenizers["unigram"].convert_tokens_to_ids(["<pad>", "</s>", "<unk>"]) == [0, 1, 2]
    assert tokenizers["unigram"].convert_tokens_to_ids("<extra_id_0>") == SIZE - 1
    assert tokenizers["unigram"].convert_tokens_to_ids("<extra_id_99>") == SIZE - T5_SENTINELS


def test_no_word_of_known_letters_is_unknown(tokenizers) -> None:
    tokenizer = tokenizers["wordpiece"]

    assert tokenizer.unk_token_id not in tokenizer("qxzjv xqwk zzyx jqk")["input_ids"]


def test_unused_tokens_fill_the_vocabulary_and_no_text_produces_them(tokenizers) -> None:
    for tokenizer in tokenizers.values():
        ids = tokenizer("\n\n".join(corpus_documents()[:50]), truncation=False)["input_ids"]
        used = tokenizer.convert_ids_to_tokens(ids)
        assert not [token for token in used if token.startswith("[unused")]


def test_another_process_trains_the_same_tokenizers(tokenizers) -> None:
    output = subprocess.run(
        [sys.executable, "-c", TRAIN],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    ours = [str(sorted(tokenizers[family].get_vocab().items())) for family in FAMILIES]
    assert output.splitlines() == ours
