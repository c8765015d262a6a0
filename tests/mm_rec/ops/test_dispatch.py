import subprocess
import sys

import pytest
import torch

from mm_rec.errors import ImplementationError, MMRecError
from mm_rec.ops.dispatch import choose_implementation, load
from mm_rec.ops.linear_recurrence import linear_recurrence


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, "cpu"), (torch.bfloat16, "cpu"), (torch.float64, "reference")],
    ids=str,
)
def test_the_automatic_choice_goes_by_device_and_dtype(dtype, expected):
    assert choose_implementation(None, torch.ones(1, dtype=dtype)) == expected


def test_a_device_without_a_kernel_gets_the_reference():
    assert choose_implementation(None, torch.ones(1, device="meta")) == "reference"


def test_a_named_implementation_is_the_one_that_runs():
    assert choose_implementation("reference", torch.ones(1)) == "reference"


def test_an_unknown_name_is_refused_with_those_that_are_known():
    message = r"implementation='cuda'; expected one of reference, cpu, triton, or None\."
    with pytest.raises(ImplementationError, match=message):
        choose_implementation("cuda", torch.ones(1))


@pytest.mark.parametrize("name", ["cpu", "triton"])
def test_a_kernel_is_not_swapped_for_the_reference_in_float64(name):
    with pytest.raises(ImplementationError, match="float32 and bfloat16, not float64"):
        choose_implementation(name, torch.ones(1, dtype=torch.float64))


def test_the_cpu_kernel_is_refused_elsewhere():
    with pytest.raises(ImplementationError, match="takes CPU tensors, not meta"):
        choose_implementation("cpu", torch.ones(1, device="meta"))


def test_triton_is_refused_on_a_cpu_unless_interpreted():
    script = (
        "import torch\n"
        "from mm_rec.ops.linear_recurrence import linear_recurrence\n"
        "a = torch.ones(1, 2, 3)\n"
        "try:\n"
        "    linear_recurrence(a, a, implementation='triton')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("ImplementationError implementation='triton' takes CUDA tensors")


def test_a_missing_library_is_named(monkeypatch):
    load.cache_clear()
    monkeypatch.delitem(sys.modules, "mm_rec.ops.linear_recurrence.cpu", raising=False)
    monkeypatch.setitem(sys.modules, "mm_rec_scan_cpu", None)
    a = torch.ones(1, 2, 3)
    with pytest.raises(ImplementationError, match="needs mm_rec_scan_cpu, which is not installed"):
        linear_recurrence(a, a)


def test_every_error_is_an_mm_rec_error_and_a_value_error():
    assert issubclass(ImplementationError, MMRecError)
    assert issubclass(ImplementationError, ValueError)
