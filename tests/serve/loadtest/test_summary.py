"""Summaries of runs whose every moment is made up, so that each figure is known."""

import random

import pytest

from ivme.serve.loadtest import LoadConfig, LoadResult, summarize
from ivme.serve.loadtest.quantiles import latency_quantiles
from ivme.serve.loadtest.samples import Run, Samples
from ivme.serve.loadtest.target import find_target


def result(latencies_s, *, slip_s=0.0, outcome="200", **run):
    """Return a run of 100 requests/s with those latencies."""
    samples = Samples()
    for at, latency_s in enumerate(latencies_s):
        due_s = at / 100
        number = samples.begin(due_s, due_s + slip_s)
        samples.end(number, due_s + slip_s, due_s + latency_s, outcome)
    url = "http://127.0.0.1:8000"
    return LoadResult(
        config=LoadConfig(url=url, rate_per_s=100, duration_s=len(latencies_s) / 100),
        target=find_target(url, allow_remote=False),
        texts=len(latencies_s),
        token="a1b2c3",
        first_s=0.1,
        generator="python",
        run=Run(samples=samples, **run),
    )


def test_rates_count_what_ended_while_the_load_was_on():
    summary = summarize(result([0.5] * 400))
    assert summary.offered_per_s == 100
    assert summary.goodput_per_s == pytest.approx(100 * 3.5 / 4, abs=0.3)
    assert summary.answered == 400


def test_percentiles_need_as_many_samples_as_they_tell_of():
    fractions = [one.fraction for one in summarize(result([0.1] * 500)).latency.quantiles]
    assert fractions == [0.5, 0.9, 0.99]
    assert latency_quantiles([0.1]) == ()


def test_a_late_generator_makes_the_run_invalid():
    assert summarize(result([0.1] * 200, slip_s=0.005)).invalid is None
    invalid = summarize(result([0.1] * 200, slip_s=0.02)).invalid
    assert invalid is not None
    assert invalid.startswith(
        "the generator was late itself: the 0.5 quantile of its slip is 20 ms"
    )


def test_a_generator_without_rest_makes_the_run_invalid():
    invalid = summarize(result([0.1] * 200, busy_share=0.97)).invalid
    assert invalid is not None
    assert "busy 97% of the time" in invalid


def test_a_run_stopped_in_its_warm_up_counts_nothing():
    summary = summarize(result([0.1] * 10, stopped_at_s=-1.0))
    assert summary.counted_s == summary.goodput_per_s == 0


def test_intervals_of_independent_samples_hold_the_true_quantiles():
    """Of 40 runs, 95% intervals of p50 and p99 miss the truth in a few; over 8 is 1 in 10^4."""
    misses = {0.5: 0, 0.99: 0}
    for seed in range(40):
        source = random.Random(seed)
        samples = [source.random() for _ in range(3000)]
        for one in latency_quantiles(samples, seed=seed):
            if one.fraction in misses:
                low, high = one.interval
                assert low <= one.value <= high
                misses[one.fraction] += not low <= one.fraction <= high
    assert max(misses.values()) <= 8


def test_intervals_are_wider_where_slow_answers_come_in_runs():
    source = random.Random(0)
    scattered = [
        1.0 if source.random() < 0.02 else 0.1 + source.random() / 100 for _ in range(5000)
    ]
    in_runs = sorted(scattered[:2500]) + sorted(scattered[2500:])
    widths = []
    for samples in (scattered, in_runs):
        p90 = latency_quantiles(samples)[1]
        widths.append(p90.interval[1] - p90.interval[0])
    assert widths[1] > widths[0]
