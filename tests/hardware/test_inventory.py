import json
import subprocess
import sys
from dataclasses import asdict, replace

from ivme.hardware.accelerators import parse_nvidia_smi
from ivme.hardware.cgroup import CgroupLimits
from ivme.hardware.inventory import (
    bound_memory,
    machine_fingerprint,
    parse_blas,
    parse_hugepages,
    parse_parallel_backend,
    read_inventory,
)


def test_this_machine_is_read_and_fits_into_json():
    inventory = read_inventory(with_torch=True)
    assert inventory.processor.usable_cores >= 1
    assert 0 < inventory.memory.available_bytes <= inventory.memory.total_bytes
    assert inventory.torch is not None
    assert inventory.torch.threads >= 1
    assert inventory.versions["torch"] == inventory.torch.version
    assert json.loads(json.dumps(asdict(inventory)))["fingerprint"] == inventory.fingerprint


def test_the_inventory_is_read_without_importing_torch():
    code = (
        "import sys; from ivme.hardware.inventory import read_inventory; read_inventory(); "
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_asking_torch_does_not_change_the_fingerprint():
    with_torch, without = read_inventory(with_torch=True), read_inventory()
    assert with_torch.fingerprint == without.fingerprint


def test_the_fingerprint_changes_with_what_the_ceilings_depend_on(make_inventory):
    machine = make_inventory()
    processor, memory, versions = machine.processor, machine.memory, machine.versions
    before = machine_fingerprint(processor, memory, versions)
    assert machine_fingerprint(replace(processor, usable_cores=1), memory, versions) != before
    assert machine_fingerprint(replace(processor, instruction_sets=()), memory, versions) != before
    assert machine_fingerprint(processor, memory, {"torch": "2.14.0"}) != before
    assert machine_fingerprint(processor, memory, {**versions, "nncf": "9"}) == before
    moved = replace(memory, total_bytes=memory.total_bytes - 4096, available_bytes=1)
    assert machine_fingerprint(processor, moved, versions) == before


def test_a_container_limit_bounds_the_memory():
    limits = CgroupLimits(memory_limit_bytes=4000, memory_used_bytes=1000)
    memory = bound_memory(16000, 12000, limits)
    assert (memory.total_bytes, memory.available_bytes) == (4000, 3000)
    assert (memory.installed_bytes, memory.limit_bytes) == (16000, 4000)


def test_a_limit_above_the_installed_memory_is_none():
    memory = bound_memory(16000, 12000, CgroupLimits(memory_limit_bytes=32000))
    assert (memory.total_bytes, memory.available_bytes) == (16000, 12000)
    assert memory.limit_bytes is None


def test_nvidia_smi_lists_the_devices():
    text = "0, NVIDIA H200, 143771, 9.0\n1, NVIDIA GH200, [N/A], 9.0\n"
    first, second = parse_nvidia_smi(text)
    assert (first.name, first.capability, first.index) == ("NVIDIA H200", "9.0", 0)
    assert first.memory_bytes == 143771 << 20
    assert second.memory_bytes is None
    assert first.is_usable is None


def test_a_failing_nvidia_smi_lists_nothing():
    assert parse_nvidia_smi("NVIDIA-SMI has failed: no driver\n") == ()


def test_the_blas_and_threading_of_torch_are_read_from_its_texts():
    config = "PyTorch built with:\n  - GCC 13\n  - Build settings: BLAS_INFO=open, USE_MKL=0, \n"
    assert parse_blas(config) == "open"
    assert parse_blas("PyTorch built with:\n") == "unknown"
    assert parse_parallel_backend("ATen/Parallel:\nATen parallel backend: OpenMP\n") == "OpenMP"


def test_the_huge_page_setting_is_the_word_in_brackets():
    assert parse_hugepages("always [madvise] never\n") == "madvise"
    assert parse_hugepages(None) is None
