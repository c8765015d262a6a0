import json

import pytest

from mm_rec.data.token_file import prepare
from mm_rec.data.tokenizers import train_tokenizer


@pytest.fixture(scope="session")
def byte_tokenizer():
    return train_tokenizer("bytes", [], 257)


@pytest.fixture
def make_token_file(byte_tokenizer, tmp_path):
    """Prepare a text of so many bytes, none of it for validation."""

    def make(size, folder="tokens"):
        text = "".join(chr(33 + i * 7919 % 90) for i in range(size))
        return prepare([text], byte_tokenizer, tmp_path / folder, validation_share=0).train

    return make


@pytest.fixture
def write_jsonl(tmp_path):
    def write(texts, name="texts.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return path

    return write
