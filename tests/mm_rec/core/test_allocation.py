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
