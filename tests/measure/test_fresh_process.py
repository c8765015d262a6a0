import pytest

from ivme.errors import IvmeError, OutOfMemoryError, UsageError
from ivme.measure.fresh_process import measure_in_fresh_process

MIB = 2**20


def test_a_fresh_process_gives_the_value_and_its_peak():
    found = measure_in_fresh_process("allocations:touch", {"mebibytes": 96})
    assert found.value == 96 * MIB
    assert found.peak_memory_bytes == pytest.approx(96 * MIB, rel=0.05)
    assert (found.method, found.cuda_peak_memory_bytes) == ("kernel", None)


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "message"),
    [
        ("allocations", {}, UsageError, "function='allocations'; expected 'package.module:name'"),
        ("allocations:none", {}, UsageError, "cannot be found: .*no attribute 'none'"),
        ("none_such:run", {}, UsageError, "cannot be found: No module named 'none_such'"),
        ("allocations:fail", {}, IvmeError, "allocations:fail failed: ValueError: no such weights"),
        ("allocations:exceed", {"growth_limit_bytes": 64 * MIB}, OutOfMemoryError, "Unable to all"),
        ("allocations:kill", {}, OutOfMemoryError, "was killed by the system, most likely out of"),
        ("allocations:leave", {}, IvmeError, "ended with exit status 3: it said nothing"),
    ],
)
def test_a_run_that_fails_says_how(function, arguments, kind, message):
    with pytest.raises(kind, match=message) as caught:
        measure_in_fresh_process(function, arguments)
    assert type(caught.value) is kind
