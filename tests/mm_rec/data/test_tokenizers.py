import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer, ByT5Tokenizer

from mm_rec.data.tokenizers import KINDS, load_tokenizer, train_tokenizer
from mm_rec.errors import ConfigError

TEXTS = ["the cat sat on the mat\n", "Çoğu şöyle dedi: iyi günler\n", "the end 🎉"]
ENCODABLE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return train_tokenizer(request.param, TEXTS, 300)


@pytest.fixture(scope="module")
def byte_pairs():
    return train_tokenizer("bpe", TEXTS, 300)


@pytest.mark.parametrize("text", [*TEXTS, "", "mat\n\n cat"])
def test_decoding_gives_the_text_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@settings(deadline=None)
@given(text=ENCODABLE)
def test_byte_pairs_encode_any_text(byte_pairs, text):
    assert byte_pairs.decode(byte_pairs.encode(text)) == text


@settings(deadline=None)
@given(text=ENCODABLE)
def test_bytes_are_their_own_ids(byte_tokenizer, text):
    assert byte_tokenizer.encode(text) == list(text.encode())
    assert byte_tokenizer.decode(list(text.encode())) == text


def test_a_special_token_in_a_text_is_text(tokenizer):
    assert tokenizer.end_id not in tokenizer.encode("the <|endoftext|> end")


def test_saving_and_loading_changes_nothing(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for name in ("fingerprint", "vocab_size", "end_id", "unknown_id"):
        assert getattr(loaded, name) == getattr(tokenizer, name)
    assert loaded.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])


def test_transformers_loads_and_encodes_alike(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(theirs(text)["input_ids"]) == text
    assert theirs.eos_token_id == tokenizer.end_id


def test_the_same_texts_train_the_same_tokenizer(tokenizer):
    kind = tokenizer._wrapped.init_kwargs["mm_rec_kind"]
    assert train_tokenizer(kind, iter(TEXTS), 300).fingerprint == tokenizer.fingerprint


def test_other_texts_train_another_tokenizer():
    fingerprints = {train_tokenizer("characters", [text], 300).fingerprint for text in TEXTS}
    assert len(fingerprints) == 3


def test_batches_encode_like_single_texts(tokenizer):
    together = tokenizer.encode_batch(TEXTS)
    assert all(np.array_equal(a, tokenizer.encode(b)) for a, b in zip(together, TEXTS, strict=True))


def test_characters_beyond_the_vocabulary_are_unknown():
    tokenizer = train_tokenizer("characters", ["aaabbc"], 4)
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("abcz") == [0, 1, tokenizer.unknown_id, tokenizer.unknown_id]


def test_any_folder_that_transformers_loads_will_do(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the cat flew") == [5, 6, 1]  # neither [CLS] nor [SEP]
    assert (tokenizer.end_id, tokenizer.unknown_id, tokenizer.vocab_size) == (3, 1, 7)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer='words'; expected one of bpe, bytes"):
        train_tokenizer("words", [], 300)
    with pytest.raises(ConfigError, match="vocab_size=256; 'bpe' needs at least 257"):
        train_tokenizer("bpe", [], 256)
    with pytest.raises(ConfigError, match="does not exist; expected a saved tokenizer"):
        load_tokenizer(tmp_path / "missing")
    with pytest.raises(ConfigError, match="no tokenizer could be loaded from"):
        load_tokenizer(tmp_path)


def test_tokenizers_written_in_python_work_too(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("the </s> cat")
    assert tokenizer.end_id not in ids
    assert tokenizer.decode(ids) == "the </s> cat"
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
