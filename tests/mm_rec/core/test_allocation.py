import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from mm_rec.core.allocation import keep_freed_memory
{kept}
def step():
    for _ in range(8):
        torch.ones(3 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
before = step()
print(step() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own options")
def test_freed_memory_is_used_again_without_page_faults():
    script = STEPS.format(kept="assert keep_freed_memory()")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100  # one tensor has 3,072 pages


HOLES = """
import torch
from ivme.measure.memory import resident_bytes
from mm_rec.core.allocation import return_freed_memory

assert return_freed_memory()
before = resident_bytes()
held = []
for _ in range(20):
    large = [torch.ones(2 << 20) for _ in range(4)]
    held.append(torch.ones(1 << 10))
    del large
print(resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own options")
def test_large_blocks_go_back_to_the_system_when_freed():
    run = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 8 << 20  # less than one of the 80 blocks of 8 MiB
