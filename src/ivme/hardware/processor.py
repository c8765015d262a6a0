"""What the processor is: name, cores, instruction sets, caches.

Every parser is a pure function of text, so a machine that is not at hand is tested from its
recorded files. Reading the machine itself is the last function.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TextReader = Callable[[str], str | None]  # path -> text, or None where there is no such file

# Our name -> the names that /proc/cpuinfo and sysctl use. Only what changes how fast a text model
# runs: vector width, int8 dot products, bf16, matrix tiles.
INSTRUCTION_SETS: Mapping[str, tuple[str, ...]] = {
    "avx2": ("avx2", "hw.optional.avx2_0"),
    "fma": ("fma", "hw.optional.fma"),
    "f16c": ("f16c", "hw.optional.f16c"),
    "avx512f": ("avx512f", "hw.optional.avx512f"),
    "avx512_vnni": ("avx512_vnni", "hw.optional.avx512vnni"),
    "avx_vnni": ("avx_vnni",),
    "avx512_bf16": ("avx512_bf16",),
    "avx512_fp16": ("avx512_fp16",),
    "amx_tile": ("amx_tile",),
    "amx_bf16": ("amx_bf16",),
    "amx_int8": ("amx_int8",),
    "neon": ("asimd", "neon", "hw.optional.neon", "hw.optional.AdvSIMD"),
    "dotprod": ("asimddp", "hw.optional.arm.FEAT_DotProd"),
    "i8mm": ("i8mm", "hw.optional.arm.FEAT_I8MM"),
    "bf16": ("bf16", "hw.optional.arm.FEAT_BF16"),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sme": ("sme", "hw.optional.arm.FEAT_SME"),
}

ARM_IMPLEMENTERS = {"0x41": "Arm", "0x48": "HiSilicon", "0x4e": "NVIDIA", "0x51": "Qualcomm"}
ARM_IMPLEMENTERS |= {"0x61": "Apple", "0xc0": "Ampere"}
ARM_PARTS = {
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse N1",
    ("0x41", "0xd40"): "Neoverse V1",
    ("0x41", "0xd49"): "Neoverse N2",
    ("0x41", "0xd4f"): "Neoverse V2",
    ("0xc0", "0xac3"): "Ampere-1",
}
VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One level of cache, as the usable cores see it."""

    level: int
    kind: str  # "data", "instruction", "unified"
    size_bytes: int  # of one instance
    shared_by: int  # logical cores that share one instance
    instances: int


@dataclass(frozen=True, kw_only=True)
class Processor:
    """The processor and the part of it that this process may use."""

    name: str
    vendor: str
    architecture: str  # "x86_64", "arm64"
    physical_cores: int
    logical_cores: int
    affinity_cores: int  # logical cores that this process may be scheduled on
    quota_cores: float | None  # processor time that the control group allows; None: unlimited
    usable_cores: int  # physical cores within the affinity, bounded by the quota; at least 1
    instruction_sets: tuple[str, ...]
    caches: tuple[Cache, ...]
    is_virtual_machine: bool = False

    def has(self, *instruction_sets: str) -> bool:
        """Return whether the processor has any of these instruction sets."""
        return any(name in self.instruction_sets for name in instruction_sets)


@dataclass(frozen=True, kw_only=True)
class ProcessorText:
    """What /proc/cpuinfo or sysctl says, before affinity and quota are counted."""

    name: str
    vendor: str
    flags: frozenset[str]
    core_of: Mapping[int, tuple[str, str]]  # logical core -> (socket, physical core)
    caches: tuple[Cache, ...] = ()


def parse_cpuinfo(text: str) -> ProcessorText:
    """Return what /proc/cpuinfo says, of x86 or Arm."""
    blocks = [_fields(block, ":") for block in text.split("\n\n") if block.strip()]
    cpus = [block for block in blocks if block.get("processor", "").isdigit()]
    first: Mapping[str, str] = cpus[0] if cpus else {}
    vendor_id = first.get("vendor_id", "")
    implementer = first.get("CPU implementer", "")
    vendor = VENDORS.get(vendor_id) or ARM_IMPLEMENTERS.get(implementer) or vendor_id or "unknown"
    arm_name = ARM_PARTS.get((implementer, first.get("CPU part", "")), "")
    name = first.get("model name") or f"{vendor} {arm_name}".strip()
    return ProcessorText(
        name=name,
        vendor=vendor,
        flags=frozenset((first.get("flags") or first.get("Features") or "").split()),
        core_of={
            int(cpu["processor"]): (
                cpu.get("physical id", "0"),
                cpu.get("core id", cpu["processor"]),  # Arm gives none: no sibling threads there
            )
            for cpu in cpus
        },
    )


def parse_sysctl(text: str) -> ProcessorText:
    """Return what the text of macOS `sysctl hw machdep.cpu` says."""
    fields = _fields(text, ":")
    physical = int(fields.get("hw.physicalcpu", 1))
    logical = int(fields.get("hw.logicalcpu", physical))
    name = fields.get("machdep.cpu.brand_string", "unknown")
    return ProcessorText(
        name=name,
        vendor="Apple" if name.startswith("Apple") else "Intel",
        flags=frozenset(key for key, value in fields.items() if value == "1"),
        core_of={cpu: ("0", str(cpu % physical)) for cpu in range(logical)},
        caches=_sysctl_caches(fields, logical),
    )


def instruction_sets(flags: Iterable[str]) -> tuple[str, ...]:
    """Return our names of the instruction sets among the flags of the operating system."""
    present = set(flags)
    return tuple(name for name, names in INSTRUCTION_SETS.items() if present.intersection(names))


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Return the numbers in a kernel list such as "0-3,8"."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        low, _, high = part.partition("-")
        cpus.extend(range(int(low), int(high or low) + 1))
    return tuple(cpus)


def parse_size(text: str) -> int:
    """Return the bytes of a kernel size such as "1024K"."""
    text = text.strip()
    factors = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * factors[text[-1]] if text[-1] in factors else int(text)


def linux_caches(read: TextReader, cpus: Iterable[int]) -> tuple[Cache, ...]:
    """Return the caches that these logical cores use; empty where the kernel does not tell."""
    sharers: dict[tuple[int, str, int], set[tuple[int, ...]]] = {}
    for cpu in cpus:
        for index in range(8):
            folder = f"/sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            size, level = read(f"{folder}/size"), read(f"{folder}/level")
            if not size or not level:
                continue
            kind = (read(f"{folder}/type") or "unified").strip().lower()
            shared = parse_cpu_list(read(f"{folder}/shared_cpu_list") or str(cpu))
            sharers.setdefault((int(level), kind, parse_size(size)), set()).add(shared)
    return tuple(
        Cache(
            level=level,
            kind=kind,
            size_bytes=size_bytes,
            shared_by=max(len(group) for group in groups),
            instances=len(groups),
        )
        for (level, kind, size_bytes), groups in sorted(sharers.items())
    )


def describe_processor(
    text: ProcessorText,
    *,
    architecture: str,
    affinity: Iterable[int],
    quota_cores: float | None,
    caches: tuple[Cache, ...] = (),
) -> Processor:
    """Return the processor, with the cores that this process may use counted."""
    allowed = tuple(affinity)
    usable = len({text.core_of.get(cpu, ("0", str(cpu))) for cpu in allowed})
    if quota_cores is not None:
        # Rounded down: a thread beyond the quota is stopped while the others wait at a barrier.
        usable = min(usable, int(quota_cores))
    return Processor(
        name=text.name,
        vendor=text.vendor,
        architecture={"aarch64": "arm64", "AMD64": "x86_64"}.get(architecture, architecture),
        physical_cores=len(set(text.core_of.values())) or len(allowed),
        logical_cores=len(text.core_of) or len(allowed),
        affinity_cores=len(allowed),
        quota_cores=quota_cores,
        usable_cores=max(1, usable),
        instruction_sets=instruction_sets(text.flags),
        caches=caches or text.caches,
        is_virtual_machine="hypervisor" in text.flags,
    )


def read_text(path: str) -> str | None:
    """Return the text of a file, or None if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_processor(quota_cores: float | None) -> Processor:
    """Return this machine's processor."""
    if platform.system() == "Darwin":
        run = ["/usr/sbin/sysctl", "hw", "machdep.cpu"]
        text = parse_sysctl(subprocess.run(run, capture_output=True, text=True, check=False).stdout)
        affinity = tuple(range(os.cpu_count() or 1))
        caches: tuple[Cache, ...] = ()
    else:
        text = parse_cpuinfo(read_text("/proc/cpuinfo") or "")
        affinity = tuple(sorted(os.sched_getaffinity(0)))
        caches = linux_caches(read_text, affinity)
    return describe_processor(
        text,
        architecture=platform.machine(),
        affinity=affinity,
        quota_cores=quota_cores,
        caches=caches,
    )


def _fields(text: str, separator: str) -> dict[str, str]:
    """Return the `key: value` lines of a text."""
    pairs = (line.split(separator, 1) for line in text.splitlines() if separator in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _sysctl_caches(fields: Mapping[str, str], logical: int) -> tuple[Cache, ...]:
    """Return the caches of the faster cores; Apple names them by performance level."""
    cores = int(fields.get("hw.perflevel0.logicalcpu", logical))
    caches = []
    for level, kind, key in ((1, "data", "l1d"), (2, "unified", "l2"), (3, "unified", "l3")):
        size = fields.get(f"hw.perflevel0.{key}cachesize") or fields.get(f"hw.{key}cachesize")
        if not size or size == "0":
            continue
        # Apple's L2 serves a cluster of cores; Intel Macs give each core its own.
        default = {1: 1, 2: 1, 3: cores}[level]
        shared = int(fields.get(f"hw.perflevel0.cpusper{key}", default))
        instances = max(1, cores // shared)
        caches.append(
            Cache(
                level=level,
                kind=kind,
                size_bytes=int(size),
                shared_by=shared,
                instances=instances,
            )
        )
    return tuple(caches)
