import json
import subprocess
import sys
from pathlib import Path

import pytest

from ivme.models.presets import preset_folder
from ivme.models.tokenizer_file import TokenizerFile, choose_tokenizer

PRESETS = ("bert-tiny", "gpt2-tiny", "t5-tiny")
WITHOUT_TORCH = """
import sys
from pathlib import Path
from ivme.models.tokenizer_file import TokenizerFile
rows = TokenizerFile(Path(sys.argv[1]))(["a text"], padding="longest", return_tensors="np")
assert rows["input_ids"].size
assert not {"torch", "transformers"} & set(sys.modules)
"""


def saved(preset: str, folder: Path, **changes: object):
    """Return a preset's tokenizer, saved in the folder with changes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(preset_folder(preset))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_alone_reads_and_writes_as_transformers_does(
    preset: str, side: str, tmp_path: Path
) -> None:
    tokenizer = saved(preset, tmp_path, padding_side=side)

    assert choose_tokenizer(tmp_path, tokenizer) == "file"


def test_a_tokenizer_whose_file_does_otherwise_stays_with_transformers(tmp_path: Path) -> None:
    tokenizer = saved("bert-tiny", tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(content))

    assert choose_tokenizer(tmp_path, tokenizer) == "transformers"
    path.unlink()
    assert choose_tokenizer(tmp_path, tokenizer) == "transformers"


def test_limits_of_one_call_do_not_stay_for_the_next(tmp_path: Path) -> None:
    saved("bert-tiny", tmp_path)
    tokenizer = TokenizerFile(tmp_path)
    whole = tokenizer(["a text of some words"])["input_ids"]
    cut = tokenizer(["a text of some words"], truncation=True, max_length=4)["input_ids"]

    assert [len(row) for row in cut] == [4]
    assert tokenizer(["a text of some words"])["input_ids"] == whole


def test_an_empty_text_without_special_tokens_is_counted_too(tmp_path: Path) -> None:
    saved("gpt2-tiny", tmp_path)
    tokenizer = TokenizerFile(tmp_path)

    assert tokenizer(["", "a"])["input_ids"][0] == []
    assert tokenizer(["a", ""])["input_ids"][1] == []


def test_texts_that_were_counted_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved("bert-tiny", tmp_path)
    tokenizer, fresh = TokenizerFile(tmp_path), TokenizerFile(tmp_path)
    limits = {"truncation": True, "max_length": 8}
    texts = ["one text", "another", "", "one text", "a longer one of many words and more"]
    tokenizer(texts, **limits, return_attention_mask=False)
    read: list[list[str]] = []
    inner = TokenizerFile._read

    def spy(self: TokenizerFile, texts: list[str], cut_to: int | None) -> list:
        read.append(texts)
        return inner(self, texts, cut_to)

    monkeypatch.setattr(TokenizerFile, "_read", spy)
    padded = {"padding": "longest", "return_tensors": "np"}
    again = tokenizer(texts[::-1], **limits, **padded)
    assert read == [[]]
    for name, array in fresh(texts[::-1], **limits, **padded).items():
        assert again[name].tolist() == array.tolist()
    longer = tokenizer(["one text", "new"], truncation=True, max_length=9, **padded)
    assert read[-1] == ["one text", "new"]
    assert longer["input_ids"].shape[0] == 2


def test_reading_texts_by_the_file_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    saved("bert-tiny", tmp_path)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
