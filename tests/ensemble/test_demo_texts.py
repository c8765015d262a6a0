import pytest

from ivme.ensemble import demo_texts as demo_module
from ivme.ensemble.demo_texts import (
    AI,
    HUMAN,
    LONGEST,
    SHORTEST,
    demo_texts,
    generated_texts,
    passages,
)
from ivme.errors import IvmeError
from ivme.models.corpus import corpus_documents


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """A cache of its own, so that nothing was written before."""
    corpus_documents()
    corpus = demo_module.corpus_documents()
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_module, "corpus_documents", lambda: corpus)


def test_the_demo_has_as_many_texts_of_each_label_and_is_the_same_every_time():
    told = []
    first = demo_texts(generators=("word-pairs",), progress=told.append)
    labels = first.train.labels + first.valid.labels
    assert labels.count(AI) == labels.count(HUMAN)
    assert set(first.valid_domains) == {"documentation", "word-pairs"}
    assert not set(first.train.texts) & set(first.valid.texts)
    again = demo_texts(generators=("word-pairs",), progress=told.append)
    assert again == first
    assert told == ["Learning word pairs..."]  # the second time they come from the cache


def test_passages_are_cut_behind_sentences():
    document = " ".join(f"One short sentence is number {number}." for number in range(40))
    parts = list(passages([document, document.upper()]))
    assert len(parts) == 4  # in capitals they are the same
    assert all(SHORTEST <= len(part.split()) <= LONGEST for part in parts)
    assert all(part.endswith(".") for part in parts)


def test_length_gives_nothing_away():
    texts = generated_texts("word-pairs", 100, 0)
    lengths = sorted(len(text.split()) for text in texts)
    human = sorted(len(text.split()) for text in passages(demo_module.corpus_documents()))
    assert abs(lengths[50] - human[len(human) // 2]) <= 10


def test_a_model_that_cannot_be_trained_is_said_with_its_reason(monkeypatch):
    monkeypatch.setattr(demo_module, "PRESET", "no-such-preset")
    with pytest.raises(IvmeError, match=r"could not be trained: .*no-such-preset.*--data"):
        generated_texts("mm-rec", 4, 0)


def test_mm_rec_writes_texts(monkeypatch):
    monkeypatch.setattr(demo_module, "STEPS", 2)
    monkeypatch.setattr(demo_module, "MOST_TOKENS", 40)
    monkeypatch.setattr(demo_module, "VOCABULARY", 400)
    texts = generated_texts("mm-rec", 3, 0)
    assert len(texts) == 3
    assert all(text.strip() for text in texts)
