import io
import shutil

import pytest
from safetensors.torch import load_file, save_file

from mm_rec.data.tokenizers import train_tokenizer
from mm_rec.scripts import generate
from mm_rec.scripts.streaming_text import StreamingText

FIXED = ("--seed=1", "--max_new_tokens=12")


def test_it_goes_on_with_the_prompt_and_a_seed_repeats_it(call, trained_run, capsys):
    texts = []
    for _ in range(2):
        assert call(generate.main, f"--model={trained_run}", "--prompt=the cat", *FIXED) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith("the cat")
    assert texts[0] == texts[1]
    assert len(texts[0]) == len("the cat") + 12 + 1


def test_a_session_goes_on_as_if_it_had_not_stopped(call, trained_run, tmp_path, capsys):
    greedy = (f"--model={trained_run}", "--temperature=0")
    call(generate.main, *greedy, "--prompt=a dog", "--max_new_tokens=20")
    whole = capsys.readouterr().out
    session = f"--session={tmp_path / 'session'}"
    call(generate.main, *greedy, session, "--prompt=a dog", "--max_new_tokens=8")
    first = capsys.readouterr().out.removesuffix("\n")
    call(generate.main, *greedy, session, "--max_new_tokens=12")
    assert first + capsys.readouterr().out == whole


def test_a_prompt_comes_from_standard_input(call, trained_run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("who saw"))
    assert call(generate.main, f"--model={trained_run}", "--prompt=-", *FIXED) == 0
    assert capsys.readouterr().out.startswith("who saw")


def test_a_damaged_newest_checkpoint_is_passed_over(call, trained_run, tmp_path, capsys):
    folder = shutil.copytree(trained_run, tmp_path / "run")
    (folder / "step-00000004" / "model.safetensors").unlink()
    assert call(generate.main, f"--model={folder}", *FIXED) == 0
    first, told = capsys.readouterr()
    assert "step-00000004 is damaged: model.safetensors is missing; trying the" in told
    assert call(generate.main, f"--model={folder / 'step-00000002'}", *FIXED) == 0
    assert capsys.readouterr().out == first


WRONG_USE = {
    "--model is missing": [],
    "no model is there; name a run's folder": ["--model=/nowhere"],
    "top_k=0; expected at least 1": ["--model=/nowhere", "--top_k=0"],
    "--max_new_tokens 0: expected at least 1": ["--model=/nowhere", "--max_new_tokens=0"],
}


@pytest.mark.parametrize("message", WRONG_USE)
def test_wrong_use_is_one_line_and_status_2(call, capsys, message):
    assert call(generate.main, *WRONG_USE[message]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_model_of_another_architecture_is_refused(call, trained_run, tmp_path, capsys):
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = shutil.copytree(trained_run / "step-00000004", tmp_path / "gpt2")
    shape = {"vocab_size": 50, "n_embd": 8, "n_layer": 1, "n_head": 1}
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(folder)
    capsys.readouterr()
    assert call(generate.main, f"--model={folder}", *FIXED) == 2
    assert "it holds a model of the kind 'gpt2'; expected 'mm_rec'" in capsys.readouterr().err


def test_a_model_without_some_of_its_weights_is_refused(call, trained_run, tmp_path, capsys):
    folder = shutil.copytree(trained_run / "step-00000004", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert call(generate.main, f"--model={folder}", *FIXED) == 2
    assert "weights are missing: model.norm.weight; train or copy" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_folder_with_a_file_cut_off_is_refused(call, trained_run, tmp_path, capsys, name):
    folder = shutil.copytree(trained_run / "step-00000004", tmp_path / "model")
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    assert call(generate.main, f"--model={folder}", *FIXED) == 2
    assert "cannot be" in capsys.readouterr().err


def test_a_session_of_another_model_is_refused(call, trained_run, tmp_path, capsys):
    session = f"--session={tmp_path / 'session'}"
    call(generate.main, f"--model={trained_run}", session, *FIXED)
    capsys.readouterr()
    other = trained_run / "step-00000002"
    assert call(generate.main, f"--model={other}", session, *FIXED) == 2
    assert "belongs to another model" in capsys.readouterr().err


def test_characters_of_several_tokens_appear_once_they_are_whole():
    tokenizer = train_tokenizer("bytes", [], 257)
    stream = StreamingText(tokenizer)
    pieces = [stream.add(token) for token in tokenizer.encode("aç€")]
    assert pieces == ["a", "", "ç", "", "", "€"]
    assert stream.add(tokenizer.encode("ç")[0]) == ""
    assert stream.rest() == "\ufffd"
