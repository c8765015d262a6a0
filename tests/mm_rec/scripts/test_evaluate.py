import json

import pytest
import torch

from mm_rec.scripts import evaluate
from mm_rec.scripts.evaluate import bucket_losses


def evaluation(call, capsys, run, text, *flags):
    arguments = (f"--model={run}", f"--data={text}", "--use_json", *flags)
    assert call(evaluate.main, *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_the_figures_do_not_depend_on_how_the_text_is_read(call, trained_run, text_file, capsys):
    flags = ("--seq_len=50", "--by_position", "--chunk_size=7", "--batch_size=3")
    whole = evaluation(call, capsys, trained_run, text_file, "--seq_len=50")
    cut = evaluation(
        call, capsys, trained_run, text_file, *flags, "--chunk_size=7", "--batch_size=3"
    )
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert whole["tokens"] == cut["tokens"] == len(text_file.read_text()) - 1
    assert sum(one["tokens"] for one in cut["by_position"]) == cut["tokens"]


def test_a_table_tells_loss_perplexity_and_bits(call, trained_run, text_file, capsys):
    flags = (f"--model={trained_run}", f"--data={text_file}", "--by_position")
    assert call(evaluate.main, *flags) == 0
    told = capsys.readouterr().out
    for words in ("loss", "perplexity", "bits per byte", "0-15", "128-255"):
        assert words in told


def test_buckets_double_and_leave_out_what_is_empty():
    counts = torch.tensor([1.0] * 40 + [0.0] * 60)
    buckets = bucket_losses(2 * counts, counts)
    assert [(one["first"], one["last"], one["tokens"]) for one in buckets] == [
        (0, 15, 16),
        (16, 31, 16),
        (32, 63, 8),
    ]
    assert {one["loss"] for one in buckets} == {2.0}


def test_help_shows_a_command_that_works(call, capsys):
    assert call(evaluate.main, "--help") == 0
    assert "evaluate --model RUN --data FILE" in " ".join(capsys.readouterr().out.split())


WRONG_USE = {
    "--data is missing": ["--model=x"],
    "/nowhere does not exist": ["--model=x", "--data=/nowhere"],
    "--seq_len 0: expected at least 1": ["--model=x", "--data=x", "--seq_len=0"],
}


@pytest.mark.parametrize("message", WRONG_USE)
def test_wrong_use_is_one_line_and_status_2(call, capsys, message):
    assert call(evaluate.main, *WRONG_USE[message]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
