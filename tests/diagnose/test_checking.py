import pytest

from ivme.diagnose.checking import check_promise
from ivme.diagnose.settings import StepSettings
from ivme.errors import IvmeError

NOW = StepSettings(threads=2)
ADVISED = NOW.changed(dtype="bfloat16")  # twice as fast


@pytest.fixture
def check(make_sweep):
    """Return a function that checks a promised interval on steps that scatter so much."""

    def run(low, high, *, advised=ADVISED, **options):
        tried, _ = make_sweep(0.1, **{"largest": 16, **options})
        promise = {"speedup": (low + high) / 2, "interval": [low, high]}
        return check_promise(tried, NOW, advised, promise)

    return run


def test_a_gain_in_the_promised_interval_or_above_keeps_the_promise(check):
    for low, high in ((1.9, 2.1), (1.2, 1.4)):
        found, comparison = check(low, high)
        assert found["verdict"] == "kept"
        assert found["speedup"] == pytest.approx(2.0)
        assert found["promised_interval"] == [low, high]
        assert comparison.verdict == "faster"


def test_a_gain_below_the_promised_interval_breaks_it(check):
    assert check(2.2, 2.4)[0]["verdict"] == "not kept"


def test_a_gain_below_whose_interval_reaches_the_promise_is_noise(check):
    found, _ = check(1.0, 3.0, noise=0.5)
    above = (found["speedup"] + found["interval"][1]) / 2
    assert found["speedup"] < above
    assert check(above, 3.0, noise=0.5)[0]["verdict"] == "within noise"


def test_what_compiles_has_as_long_in_the_check_as_before(check):
    advised = ADVISED.changed(compile=True)
    found, _ = check(1.9, 2.1, advised=advised, compile_s=100.0, compiling_s=200.0)
    assert found["verdict"] == "kept"


def test_a_check_that_cannot_run_says_why(check):
    with pytest.raises(IvmeError, match="the check of batch 32 did not run: out of memory"):
        check(1.0, 2.0, advised=NOW.changed(batch_size=32))
