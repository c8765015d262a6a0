import statistics
from itertools import pairwise

import pytest

from ivme.serve.loadtest import LoadConfig
from ivme.serve.loadtest.schedule import due_moments


def config(**settings):
    return LoadConfig(url="http://127.0.0.1", rate_per_s=50, **settings)


def test_a_constant_schedule_is_even_and_starts_with_the_warm_up():
    moments = due_moments(config(duration_s=4, warm_up_s=1))
    assert len(moments) == 250
    assert moments[0] == -1
    assert moments[50] == pytest.approx(0)
    assert [after - before for before, after in pairwise(moments)] == pytest.approx([0.02] * 249)


def test_a_poisson_schedule_has_exponential_gaps_and_is_the_same_for_a_seed():
    settings = {"duration_s": 200, "warm_up_s": 0, "schedule": "poisson"}
    moments = due_moments(config(seed=1, **settings))
    gaps = [after - before for before, after in pairwise(moments)]
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(0.02, rel=0.05)
    assert moments == due_moments(config(seed=1, **settings))
    assert moments != due_moments(config(seed=2, **settings))
