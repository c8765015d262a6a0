import random
import subprocess
import sys

import numpy as np
import pytest

from ivme.measure.statistics import (
    classify_outliers,
    correlation_length,
    count_outliers,
    hierarchical_interval,
    median_interval,
    percentiles,
)


def test_percentiles_agree_with_numpy():
    samples = np.random.default_rng(0).lognormal(size=257).tolist()
    found = percentiles(samples)
    expected = np.percentile(samples, [0, 50, 90, 99])
    assert (found.minimum, found.median, found.p90, found.p99) == pytest.approx(tuple(expected))
    assert found.count == 257


def test_percentiles_of_one_sample_are_that_sample():
    found = percentiles([0.25])
    assert (found.minimum, found.median, found.p90, found.p99) == (0.25,) * 4


def test_percentiles_of_nothing_are_refused():
    with pytest.raises(ValueError, match="there are no samples"):
        percentiles([])


def test_outliers_are_classified_by_side_and_severity():
    # Quartiles 2 and 4: mild beyond -1 and 7, severe beyond -4 and 10.
    samples = [2.0, 2.0, 3.0, 4.0, 4.0]
    assert classify_outliers(samples) == [None] * 5
    around = [2.0] * 10 + [3.0] * 10 + [4.0] * 10
    assert classify_outliers([*around, -1.5, 7.5, -4.5, 10.5])[-4:] == [
        "mild low",
        "mild high",
        "severe low",
        "severe high",
    ]
    assert count_outliers([*around, -1.5, 7.5, -4.5, 10.5, 11.0]) == {
        "mild": 2,
        "severe": 3,
        "low": 2,
        "high": 3,
    }


def test_equal_samples_have_no_outliers():
    assert count_outliers([0.1] * 20) == {"mild": 0, "severe": 0, "low": 0, "high": 0}


def test_the_hierarchical_interval_holds_the_truth_as_often_as_it_says():
    draw = random.Random(1)
    hits = 0
    for seed in range(200):
        levels = [draw.gauss(0, 0.02) for _ in range(15)]
        blocks = [[level + draw.gauss(0, 0.01) for _ in range(3)] for level in levels]
        low, high = hierarchical_interval(blocks, resamples=500, seed=seed)
        hits += low <= 0.0 <= high
    # A share of 200 scatters by 1.5 points: 95% less three of these.
    assert hits / 200 >= 0.90


def test_the_hierarchical_interval_is_seeded_and_takes_ragged_blocks():
    blocks = [[1.0, 2.0, 3.0], [2.0], [4.0, 1.0]]
    assert hierarchical_interval(blocks, seed=3) == hierarchical_interval(blocks, seed=3)
    low, high = hierarchical_interval(blocks, seed=3)
    assert 1.0 <= low <= 2.0 <= high <= 4.0


def test_an_interval_without_samples_is_refused():
    with pytest.raises(ValueError, match="one block or more, with one sample or more"):
        hierarchical_interval([[1.0], []])
    with pytest.raises(ValueError, match="one sample or more"):
        median_interval([])


def correlated_series(seed: int, persistence: float, count: int = 300) -> list[float]:
    draw, level, series = random.Random(seed), 0.0, []
    for _ in range(count):
        level = persistence * level + draw.gauss(0, (1 - persistence**2) ** 0.5)
        series.append(level)
    return series


def test_the_interval_of_autocorrelated_samples_is_wider():
    def width(persistence: float) -> float:
        low, high = median_interval(correlated_series(5, persistence), resamples=500)
        return high - low

    assert width(0.9) > 2 * width(0.0)


def test_the_interval_of_autocorrelated_samples_mostly_holds_the_truth():
    intervals = [median_interval(correlated_series(s, 0.8), resamples=300) for s in range(100)]
    # One to one resampling holds it in about 55 of 100; the block bootstrap loses a few points.
    assert sum(low <= 0.0 <= high for low, high in intervals) >= 85


def test_the_correlation_length_follows_the_series():
    assert correlation_length([0.5] * 100) == 1
    assert correlation_length([0.5]) == 1
    short = correlation_length(correlated_series(1, 0.0))
    assert short == round(300 ** (1 / 3))
    assert short < correlation_length(correlated_series(1, 0.95)) <= 75


def test_importing_the_measuring_modules_loads_neither_numpy_nor_torch():
    code = (
        "import sys, ivme.measure.compare, ivme.measure.meter, ivme.measure.memory; "
        "print(sorted({'torch', 'numpy', 'psutil', 'multiprocessing'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
