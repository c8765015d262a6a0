import math

import pytest

from ivme.measure.records import load_record
from mm_rec.errors import ConfigError
from mm_rec.scripts import train_uboo_test
from mm_rec.scripts.train_uboo_test import Run, compare, loss_variance, reachable_loss, steps_to


def run(variant="baseline", seed=0, evaluations=((10, 3.0), (20, 2.0)), **settings):
    facts = {"losses": (4.0, 3.0, 2.5, 2.0, 2.2, 1.9), "final_perplexity": 8.0, "elapsed_s": 1.0}
    facts = {**facts, "peak_memory_bytes": 100, **settings}
    return Run(variant=variant, seed=seed, evaluations=tuple(evaluations), **facts)


def test_steps_to_a_loss_lie_between_evaluations():
    assert steps_to(run(), 2.5) == 15
    assert steps_to(run(), 3.5) == 10
    assert math.isinf(steps_to(run(), 1.0))


def test_the_target_is_a_loss_that_every_run_reached():
    assert reachable_loss([run(), run(evaluations=[(10, 2.6), (20, 2.2)])]) == 2.2


def test_the_variance_is_about_the_line_of_the_second_half():
    straight = run(losses=(9.0, 9.0, 9.0, 3.0, 2.0, 1.0))
    jumping = run(losses=(9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 1.0, 3.0))
    assert loss_variance(straight) == pytest.approx(0)
    assert loss_variance(jumping) == pytest.approx(0.8)


def test_ratios_are_of_pairs_with_one_seed():
    pairs = [
        run(variant, seed, peak_memory_bytes=(seed + 1) * (150 if variant == "uboo" else 100))
        for seed in range(3)
        for variant in ("baseline", "uboo")
    ]
    found = {finding.name: finding for finding in compare(pairs, 2.5)}
    memory = found["peak memory, MB"]
    assert memory.ratio == pytest.approx(1.5)
    assert memory.interval == pytest.approx((1.5, 1.5))
    assert memory.verdict == "more with UBOO"
    assert found["final perplexity"].verdict == "undecided"


def test_a_target_that_no_run_reaches_is_refused():
    with pytest.raises(ConfigError, match=r"--target_loss 1.0: .*reaches is 2.0000"):
        compare([run(), run("uboo")], 1.0)


def test_too_few_seeds_are_refused(call, capsys):
    assert call(train_uboo_test.main, "--seeds=1") == 2
    assert "--seeds 1: expected 2 or more, for an interval" in capsys.readouterr().err


@pytest.mark.slow
def test_both_are_trained_and_recorded(call, text_file, tmp_path, capsys):
    output = tmp_path / "uboo.json"
    flags = (f"--data_dir={text_file}", "--max_steps=10", "--seeds=2", f"--output={output}")
    assert call(train_uboo_test.main, *flags, "--batch_size=1", "--seq_len=16") == 0
    told = capsys.readouterr().out
    for words in ("steps to a loss of", "final perplexity", "variance of the loss", "peak memory"):
        assert words in told
    record = load_record(output)
    assert record.kind == "uboo"
    assert len(record.measurements) == 5
    assert record.measurements[0].peak_memory_bytes > 0
