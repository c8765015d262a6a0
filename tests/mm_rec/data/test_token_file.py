import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_rec.data import token_file
from mm_rec.data.documents import TextFiles, Texts
from mm_rec.data.mapped_tokens import BLOCK_BYTES, TokenWriter, describe_tokens, token_dtype
from mm_rec.data.splitting import Split, split_parts
from mm_rec.data.token_file import TokenFile, prepare
from mm_rec.data.tokenizers import train_tokenizer
from mm_rec.errors import ConfigError, DataError

DOCUMENTS = [f"document {i}: " + "lorem ipsum " * (i % 7) for i in range(300)]


def everything(tokens):
    return tokens.tokens(0, len(tokens))


def decoded(tokens, tokenizer):
    """Return the documents in a token file."""
    ends = np.flatnonzero(everything(tokens) == tokenizer.end_id)
    return [tokenizer.decode(part) for part in np.split(everything(tokens), ends)]


@pytest.fixture
def prepared(byte_tokenizer, write_jsonl, tmp_path):
    return prepare(write_jsonl(DOCUMENTS), byte_tokenizer, tmp_path / "tokens")


def test_every_document_is_on_one_side_whole_and_in_order(prepared, byte_tokenizer):
    train, validation = (
        decoded(side, byte_tokenizer) for side in (prepared.train, prepared.validation)
    )
    assert sorted(train + validation) == sorted(DOCUMENTS)
    assert train == [text for text in DOCUMENTS if text in set(train)]
    assert 15 <= len(validation) <= 45
    assert (prepared.split.rule, prepared.contents.documents) == ("documents", 300)


@settings(deadline=None)
@given(texts=st.lists(st.text("ab", min_size=1, max_size=3), max_size=30), share=st.floats(0, 1))
def test_equal_documents_fall_on_one_side_whatever_stands_around_them(texts, share):
    split = Split(rule="documents", share=share, cut=0)
    sides = {part.text: part.side for part in split_parts(Texts(texts=texts), split)}
    alone = {text: next(split_parts(Texts(texts=[text]), split)).side for text in texts}
    assert sides == alone


@settings(deadline=None)
@given(
    texts=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=9),
    cut=st.integers(0, 50),
)
def test_the_tail_begins_at_one_character_of_all_text(texts, cut):
    parts = list(split_parts(Texts(texts=texts), Split(rule="tail", share=0, cut=cut)))
    sides = ["".join(p.text for p in parts if p.side == side) for side in ("train", "validation")]
    assert sides == ["".join(texts)[:cut], "".join(texts)[cut:]]
    assert sum(part.begins_document for part in parts) == len(texts)


def test_few_documents_are_split_at_the_tail_without_separators(byte_tokenizer, tmp_path):
    text = "To be, or not to be\n" * 50
    files = prepare([text], byte_tokenizer, tmp_path / "tokens")
    assert byte_tokenizer.decode(everything(files.train)) == text[:900]
    assert byte_tokenizer.decode(everything(files.validation)) == text[900:]
    assert (len(files.train), len(files.validation), files.split.rule) == (900, 100, "tail")


def test_a_long_document_in_pieces_is_one_document(byte_tokenizer, write_jsonl, tmp_path):
    texts = ["a long line of text\n" * 30_000, "short"]
    files = prepare(write_jsonl(texts), byte_tokenizer, tmp_path / "tokens", validation_share=0)
    assert decoded(files.train, byte_tokenizer) == texts
    assert len(files.validation) == 0


def test_bytes_per_token_gives_bits_per_byte(tmp_path):
    texts = ["ağaç" * 20, "the tree"]
    tokenizer = train_tokenizer("characters", texts, 300)
    train = prepare(texts, tokenizer, tmp_path / "tokens", validation_share=0).train
    text_bytes = len("".join(texts).encode())
    assert (train.text_bytes, len(train)) == (text_bytes, len("".join(texts)) + 1)
    # A model that gives every token half of the probability spends one bit on each.
    bits_per_byte = math.log(2) / math.log(2) / train.bytes_per_token
    assert bits_per_byte == pytest.approx(len(train) / text_bytes)


def test_unknown_characters_are_counted_and_logged(tmp_path, caplog):
    tokenizer = train_tokenizer("characters", ["abc"], 300)
    files = prepare(["abcxyz" * 9], tokenizer, tmp_path / "tokens")
    assert files.unknown_tokens == 27
    assert "27 characters are not in the tokenizer's vocabulary" in caplog.text


def test_what_was_mended_is_logged(byte_tokenizer, tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes(b"some text " * 9 + b"\xff")
    (tmp_path / "b.txt").write_bytes(b"")
    files = prepare(tmp_path, byte_tokenizer, tmp_path / "tokens")
    assert files.contents.replaced_characters == files.contents.empty_documents == 1
    assert "1 bytes that are not UTF-8 were read as U+FFFD" in caplog.text
    assert "1 empty documents were left out" in caplog.text


def test_it_is_prepared_once(byte_tokenizer, write_jsonl, tmp_path, monkeypatch, prepared):
    monkeypatch.setattr(TextFiles, "read", None)  # reading again would fail
    again = prepare(tmp_path / "texts.jsonl", byte_tokenizer, tmp_path / "tokens")
    assert np.array_equal(everything(again.train), everything(prepared.train))
    assert (again.split, again.contents) == (prepared.split, prepared.contents)


@pytest.mark.parametrize("changed", ["documents", "tokenizer", "share"])
def test_other_inputs_are_prepared_anew(byte_tokenizer, write_jsonl, tmp_path, prepared, changed):
    inputs = {"documents": tmp_path / "texts.jsonl", "tokenizer": byte_tokenizer}
    if changed == "documents":
        inputs["documents"] = write_jsonl(DOCUMENTS[:200], "less.jsonl")
    elif changed == "tokenizer":
        inputs["tokenizer"] = train_tokenizer("characters", DOCUMENTS, 300)
    else:
        inputs["validation_share"] = 0.5
    former = everything(prepared.train).tolist()
    again = prepare(**inputs, folder=tmp_path / "tokens")
    assert everything(again.train).tolist() != former


def test_who_reads_the_former_files_goes_on_reading_them(byte_tokenizer, tmp_path, prepared):
    former = prepared.train.tokens(0, 100).tolist()
    prepare(["other text " * 10], byte_tokenizer, tmp_path / "tokens")
    assert prepared.train.tokens(0, 100).tolist() == former


def test_progress_ends_with_everything(byte_tokenizer, tmp_path):
    seen = []
    prepare(DOCUMENTS, byte_tokenizer, tmp_path, on_progress=lambda *now: seen.append(now))
    total = sum(map(len, DOCUMENTS))
    assert seen[-1] == (total, total)


@settings(max_examples=8, deadline=None)  # it waits for the disk
@given(stops=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_an_interrupted_preparation_goes_on_where_it_was_safe(
    byte_tokenizer, tmp_path_factory, stops
):
    class Killed(BaseException):
        pass

    class Tokenizer(type(byte_tokenizer)):
        def __init__(self):
            self.__dict__.update(vars(byte_tokenizer))
            self.left, self.characters = None, 0

        def encode_batch(self, texts):
            if self.left == 0:
                raise Killed
            self.left = None if self.left is None else self.left - 1
            self.characters += sum(map(len, texts))
            return super().encode_batch(texts)

    folder = tmp_path_factory.mktemp("tokens")
    tokenizer = Tokenizer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_file, "BATCH_CHARACTERS", 1000)
        patch.setattr(token_file, "SAFE_CHARACTERS", 3000)
        for stop in stops:
            tokenizer.left = stop
            with suppress(Killed):  # the last ones may come too late
                prepare(DOCUMENTS, tokenizer, folder / "killed")
        tokenizer.left = None
        files = prepare(DOCUMENTS, tokenizer, folder / "killed")
        whole = prepare(DOCUMENTS, byte_tokenizer, folder / "whole")
    for side in ("train", "validation"):
        assert (
            everything(getattr(files, side)).tolist() == everything(getattr(whole, side)).tolist()
        )
    total = sum(map(len, DOCUMENTS))
    assert tokenizer.characters <= total + 4200 * len(stops)  # little is done twice
    assert files.train.text_bytes == whole.train.text_bytes


KILLED = """
import os, signal, sys
from mm_rec.data import token_file
from mm_rec.data.tokenizers import train_tokenizer
token_file.BATCH_CHARACTERS = token_file.SAFE_CHARACTERS = 500
def kill(done, total):
    if done > total / 2:
        os.kill(os.getpid(), signal.SIGKILL)
tokenizer = train_tokenizer("bytes", [], 257)
token_file.prepare(sys.argv[1], tokenizer, sys.argv[2], on_progress=kill)
"""


def test_a_killed_process_leaves_what_the_next_one_goes_on_from(
    byte_tokenizer, write_jsonl, tmp_path, prepared
):
    arguments = [str(tmp_path / "texts.jsonl"), str(tmp_path / "killed")]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == -signal.SIGKILL
    note = json.loads((tmp_path / "killed" / "progress.json").read_text())
    assert note["characters_done"] > 0
    files = prepare(*arguments[:1], byte_tokenizer, arguments[1])
    assert np.array_equal(everything(files.train), everything(prepared.train))


def test_another_process_in_the_folder_is_refused(byte_tokenizer, tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is preparing"):
            prepare(DOCUMENTS, byte_tokenizer, tmp_path)


def test_a_flipped_bit_is_found_when_its_block_is_read(make_token_file):
    size = 3 * BLOCK_BYTES
    tokens = make_token_file(size // 2)
    with tokens.path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"!")
    assert len(tokens.tokens(0, 100)) == 100
    with pytest.raises(DataError, match=r"bytes from 65536 on were changed; delete"):
        tokens.tokens(size // 4 - 10, size // 4 + 10)
    with pytest.raises(DataError, match=r"train\.tokens is damaged"):
        tokens.verify()


@pytest.mark.parametrize("name", ["train.tokens", "train.crc32", "tokens.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
def test_damaged_files_are_refused(byte_tokenizer, tmp_path, prepared, name, damage):
    path = tmp_path / "tokens" / name
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2 - 1 if damage == "cut" else 0])

    def again():
        return prepare(tmp_path / "texts.jsonl", byte_tokenizer, tmp_path / "tokens")

    if (name, damage) == ("tokens.json", "removed"):  # not prepared then
        assert len(again().train) == len(prepared.train)
        return
    with pytest.raises(DataError, match=r"is damaged: .*; delete .* and prepare it again"):
        again()


def test_tokens_beyond_the_file_are_refused(prepared):
    with pytest.raises(IndexError, match="of a file of"):
        prepared.train.tokens(0, len(prepared.train) + 1)


@pytest.mark.parametrize("vocab_size", [257, 1 << 16, 100_000])
def test_every_id_of_a_vocabulary_is_kept(tmp_path, vocab_size):
    ids = np.array([0, vocab_size - 1])
    writer = TokenWriter(tmp_path / "a.tokens", token_dtype(vocab_size))
    writer.append(ids, text_bytes=2)
    writer.close()
    tokens = TokenFile(writer.path, describe_tokens(writer))
    assert everything(tokens).tolist() == ids.tolist()
    assert everything(tokens).itemsize == (2 if vocab_size <= 1 << 16 else 4)


def test_a_side_without_text_is_an_error(byte_tokenizer, tmp_path):
    with pytest.raises(DataError, match="by documents left no text for validation; expected more"):
        prepare(["one text"], byte_tokenizer, tmp_path, 0.01, validation="documents")


def test_documents_that_change_between_the_passes_are_an_error(byte_tokenizer, tmp_path):
    class Growing(list):
        def __iter__(self):
            self.append("more")
            return super().__iter__()

    with pytest.raises(DataError, match="the documents changed while they were read"):
        prepare(Growing(DOCUMENTS), byte_tokenizer, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_share": 1.0}, r"validation_share=1.0; expected 0 to below 1"),
        ({"validation": "head"}, r"validation='head'; expected one of \('documents', 'tail'\)"),
    ],
)
def test_settings_that_are_not_allowed_are_named(byte_tokenizer, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        prepare(DOCUMENTS, byte_tokenizer, tmp_path, **settings)
