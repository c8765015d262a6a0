import os
import sys

import pytest

from ivme.diagnose.cores import watch_cores


def test_each_usable_core_is_told_and_one_of_them_ran_the_steps():
    calls = []

    def step():
        calls.append(sum(range(200_000)))

    found = watch_cores(step, 0.1)
    assert found["steps"] == len(calls)
    assert found["elapsed_s"] >= 0.1
    if hasattr(os, "sched_getaffinity"):
        assert [one["core"] for one in found["cores"]] == sorted(os.sched_getaffinity(0))
    assert all(0 <= one["busy"] <= 1 for one in found["cores"])
    assert 0 < found["process"] <= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc tells of threads")
def test_a_step_is_run_once_even_where_it_takes_longer_than_the_watch():
    found = watch_cores(lambda: sum(range(3_000_000)), 0.0)
    assert found["steps"] == 1
    own = [one["own"] for one in found["cores"] if one["own"] is not None]
    assert all(0 <= one <= 1 for one in own)
