import subprocess
import sys

import pytest

from ivme.measure.memory_guard import available_bytes, is_out_of_memory, memory_guard

OVERSIZED = """
import resource, torch
from ivme.measure.memory_guard import is_out_of_memory, memory_guard

before = resource.getrlimit(resource.RLIMIT_DATA)
with memory_guard(128 * 2**20) as limit_bytes:
    small = torch.ones(2**20)
    try:
        torch.ones(2**28)
    except RuntimeError as error:
        print(limit_bytes, is_out_of_memory(error))
print(resource.getrlimit(resource.RLIMIT_DATA) == before, torch.ones(2**26).numel())
"""


def test_an_oversized_tensor_fails_under_a_guard_and_the_limit_is_lifted_after():
    done = subprocess.run([sys.executable, "-c", OVERSIZED], capture_output=True, text=True)
    assert done.stdout.split() == [str(128 * 2**20), "True", "True", str(2**26)], done.stderr


def test_a_guard_inside_a_guard_keeps_the_tighter_limit():
    with memory_guard(512 * 2**20) as outer, memory_guard(2**40) as inner:
        assert inner <= outer == 512 * 2**20


def test_the_default_limit_is_nearly_all_that_is_available():
    with memory_guard() as limit_bytes:
        # Other programs take and give memory meanwhile: half is far from what the 5% spare.
        assert 0.5 * available_bytes() < limit_bytes < 2 * available_bytes()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer of size 4294967296"),
        RuntimeError("Available memory of 512 is smaller than requested bytes of 1024"),
        RuntimeError("Check 'ptr' failed: Failed to allocate 3600000000 bytes of memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_library_saying_so_is_out_of_memory(error):
    assert is_out_of_memory(error)


def test_torchs_own_class_is_out_of_memory():
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("anything"))


def test_an_error_raised_from_one_is_out_of_memory():
    wrapped = RuntimeError("the engine failed")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)


def test_other_errors_are_not():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(KeyError("memory"))
    assert not is_out_of_memory(None)
