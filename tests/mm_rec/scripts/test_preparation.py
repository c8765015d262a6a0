import pytest

from mm_rec.data.documents import Texts
from mm_rec.data.tokenizers import Tokenizer, load_tokenizer
from mm_rec.errors import DataError
from mm_rec.scripts.preparation import WatchedDocuments, prepare_tokenizer, prepare_tokens
from mm_rec.training.configuration import TrainingConfig, resolve

FIRST, SECOND = Texts(texts=["a cat sat"] * 9), Texts(texts=["who saw the old owl"] * 9)


@pytest.fixture(params=["bpe", "characters"])
def config(request, tmp_path):
    return resolve(
        TrainingConfig(tokenizer=request.param, vocab_size=300, checkpoint_dir=str(tmp_path))
    )


class Stop(BaseException):
    """What ends a reading, as the end of a process does."""


def stopping_at(documents, number):
    """Return the documents, and end their reading at one of them."""
    left = [number]

    def watch():
        left[0] -= 1
        if not left[0]:
            raise Stop

    return WatchedDocuments(documents=documents, watch=watch)


def test_a_kept_tokenizer_is_loaded_and_not_trained_again(config):
    made = prepare_tokenizer(config, FIRST)
    assert prepare_tokenizer(config, stopping_at(FIRST, 1)).fingerprint == made.fingerprint


def test_the_training_of_a_tokenizer_ends_where_its_documents_do(config):
    with pytest.raises(Stop):
        prepare_tokenizer(config, stopping_at(FIRST, 3))


def test_counting_and_tokenizing_end_where_the_documents_do(config):
    tokenizer = prepare_tokenizer(config, FIRST)
    for number in (3, len(FIRST.texts) + 3):
        with pytest.raises(Stop):
            prepare_tokens(config, stopping_at(FIRST, number), tokenizer)
    assert len(prepare_tokens(config, FIRST, tokenizer).train)


def test_a_tokenizer_that_was_cut_off_is_vouched_for_by_none(config, monkeypatch):
    wanted = prepare_tokenizer(config, FIRST).fingerprint
    save = Tokenizer.save

    def save_and_die(tokenizer, folder):
        save(tokenizer, folder)
        raise Stop

    with monkeypatch.context() as during:
        during.setattr(Tokenizer, "save", save_and_die)
        with pytest.raises(Stop):
            prepare_tokenizer(config, SECOND)
    assert prepare_tokenizer(config, FIRST).fingerprint == wanted
    assert load_tokenizer(f"{config.prepared_dir}/tokenizer").fingerprint == wanted


def test_two_do_not_make_one_tokenizer_at_the_same_time(config):
    def begin_another():
        prepare_tokenizer(config, SECOND)

    with pytest.raises(DataError, match="tokenizer; wait for it, or name another folder"):
        prepare_tokenizer(config, WatchedDocuments(documents=FIRST, watch=begin_another))
