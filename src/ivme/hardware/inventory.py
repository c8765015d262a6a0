"""The inventory: what this machine is, as one record that JSON can hold.

It reads files and asks libraries; it measures nothing (see ceilings.py).
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from ivme.hardware.accelerators import Accelerator, read_accelerators
from ivme.hardware.cgroup import CgroupLimits, read_limits
from ivme.hardware.processor import Processor, read_processor, read_text

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "torchao",
    "triton",
    "accelerate",
    "bitsandbytes",
)
ARITHMETIC_LIBRARIES = ("torch", "onnxruntime", "openvino")  # what the ceilings depend on
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Main memory; a control group's limit is counted."""

    total_bytes: int  # the smaller of what is installed and what the control group allows
    available_bytes: int
    installed_bytes: int
    limit_bytes: int | None  # of the control group; None: no limit


@dataclass(frozen=True, kw_only=True)
class OperatingSystem:
    """The operating system and the settings of it that matter here."""

    name: str  # "Linux", "Darwin"
    release: str
    transparent_hugepages: str | None  # "always", "madvise", "never"; None: not known


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """How the installed torch was built, and the threads that it starts by itself."""

    version: str
    blas: str  # "mkl", "open", "accelerate": what torch.mm calls in fp32
    has_mkl: bool
    has_onednn: bool
    cpu_capability: str  # "AVX512": what its own kernels use
    parallel_backend: str  # "OpenMP"
    threads: int
    interop_threads: int
    cuda_version: str | None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What this machine is."""

    processor: Processor
    memory: Memory
    accelerators: tuple[Accelerator, ...]
    torch: TorchBuild | None  # None: torch was not asked
    system: OperatingSystem
    python: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]  # THREAD_VARIABLES that are set
    fingerprint: str  # see machine_fingerprint


def read_inventory(*, with_torch: bool = False) -> Inventory:
    """Return what this machine is.

    with_torch: import torch and ask it about its build and devices; takes seconds the first time.
    """
    limits = read_limits()
    processor = read_processor(limits.quota_cores)
    memory = read_memory(limits)
    versions = library_versions()
    return Inventory(
        processor=processor,
        memory=memory,
        accelerators=read_accelerators(with_torch=with_torch),
        torch=read_torch_build() if with_torch else None,
        system=read_operating_system(),
        python=platform.python_version(),
        versions=versions,
        environment={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        fingerprint=machine_fingerprint(processor, memory, versions),
    )


def machine_fingerprint(processor: Processor, memory: Memory, versions: Mapping[str, str]) -> str:
    """Return a hash that changes when measured ceilings would: hardware, cores, libraries.

    Memory is rounded to GiB, because a kernel update moves its last bytes.
    """
    facts = {
        "processor": processor.name,
        "architecture": processor.architecture,
        "cores": [processor.physical_cores, processor.logical_cores, processor.usable_cores],
        "instruction_sets": sorted(processor.instruction_sets),
        "memory_gib": round(memory.total_bytes / 2**30),
        "libraries": {name: versions.get(name) for name in ARITHMETIC_LIBRARIES},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def library_versions() -> dict[str, str]:
    """Return name -> version of the libraries that are installed, importing none of them."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def read_memory(limits: CgroupLimits) -> Memory:
    """Return this machine's memory under the limits of the control group."""
    import psutil

    machine = psutil.virtual_memory()
    return bound_memory(machine.total, machine.available, limits)


def bound_memory(installed_bytes: int, available_bytes: int, limits: CgroupLimits) -> Memory:
    """Return the memory that a process under these limits has."""
    limit = limits.memory_limit_bytes
    if limit is None or limit >= installed_bytes:
        total, available, limit = installed_bytes, available_bytes, None
    else:
        total = limit
        available = min(available_bytes, max(0, limit - (limits.memory_used_bytes or 0)))
    return Memory(
        total_bytes=total,
        available_bytes=available,
        installed_bytes=installed_bytes,
        limit_bytes=limit,
    )


def read_operating_system() -> OperatingSystem:
    """Return the operating system."""
    return OperatingSystem(
        name=platform.system(),
        release=platform.release(),
        transparent_hugepages=parse_hugepages(
            read_text("/sys/kernel/mm/transparent_hugepage/enabled")
        ),
    )


def parse_hugepages(text: str | None) -> str | None:
    """Return the chosen word of "always [madvise] never"."""
    if not text or "[" not in text:
        return None
    return text.split("[", 1)[1].split("]", 1)[0]


def read_torch_build() -> TorchBuild:
    """Return how torch was built; imports torch."""
    import torch

    return TorchBuild(
        version=torch.__version__,
        blas=parse_blas(torch.__config__.show()),
        has_mkl=torch.backends.mkl.is_available(),
        has_onednn=torch.backends.mkldnn.is_available(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        parallel_backend=parse_parallel_backend(torch.__config__.parallel_info()),
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        cuda_version=torch.version.cuda,
    )


def parse_blas(config: str) -> str:
    """Return the BLAS in the text of torch.__config__.show(): "mkl", "open", "accelerate"."""
    for part in config.replace("\n", ",").split(","):
        name, _, value = part.strip().removeprefix("- Build settings:").strip().partition("=")
        if name == "BLAS_INFO":
            return value.lower()
    return "unknown"


def parse_parallel_backend(parallel_info: str) -> str:
    """Return the threading library in the text of torch.__config__.parallel_info()."""
    for line in parallel_info.splitlines():
        label, _, value = line.partition(":")
        if label.strip() == "ATen parallel backend":
            return value.strip()
    return "unknown"
