import pytest

from ivme.hardware.processor import (
    Cache,
    describe_processor,
    linux_caches,
    parse_cpu_list,
    parse_cpuinfo,
    parse_size,
    parse_sysctl,
)


def x86_cpuinfo(vendor, model, flags, cores, threads_per_core=1):
    blocks = []
    for cpu in range(cores * threads_per_core):
        blocks.append(
            f"processor\t: {cpu}\nvendor_id\t: {vendor}\nmodel name\t: {model}\n"
            f"physical id\t: 0\ncore id\t\t: {cpu % cores}\nflags\t\t: fpu {flags}\n"
        )
    return "\n".join(blocks)


INTEL_AMX = x86_cpuinfo(
    "GenuineIntel",
    "Intel(R) Xeon(R) Platinum 8480+",
    "avx2 fma f16c avx512f avx512_vnni avx_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_bf16 amx_int8 hypervisor",
    cores=4,
    threads_per_core=2,
)
AMD_ZEN3 = x86_cpuinfo("AuthenticAMD", "AMD Ryzen 9 5900X", "avx2 fma f16c", cores=12)
GRAVITON3 = "\n".join(
    f"processor\t: {cpu}\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp sve i8mm bf16\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\n"
    for cpu in range(4)
)
APPLE_M2 = """\
hw.ncpu: 8
hw.physicalcpu: 8
hw.logicalcpu: 8
hw.perflevel0.logicalcpu: 4
hw.perflevel0.l1dcachesize: 131072
hw.perflevel0.l2cachesize: 16777216
hw.perflevel0.cpusperl2: 4
hw.optional.neon: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M2
"""


def describe(text, affinity, quota_cores=None, architecture="x86_64"):
    return describe_processor(
        text, architecture=architecture, affinity=affinity, quota_cores=quota_cores
    )


def test_an_intel_server_has_its_matrix_tiles_and_one_core_for_two_threads():
    processor = describe(parse_cpuinfo(INTEL_AMX), range(8))
    assert processor.name == "Intel(R) Xeon(R) Platinum 8480+"
    assert processor.vendor == "Intel"
    assert processor.has("amx_bf16")
    assert set(processor.instruction_sets) >= {"amx_tile", "amx_int8", "avx512_vnni", "avx_vnni"}
    assert (processor.physical_cores, processor.logical_cores) == (4, 8)
    assert processor.usable_cores == 4
    assert processor.is_virtual_machine


def test_an_older_amd_has_no_vnni_and_no_bf16():
    processor = describe(parse_cpuinfo(AMD_ZEN3), range(12))
    assert processor.vendor == "AMD"
    assert processor.instruction_sets == ("avx2", "fma", "f16c")
    assert not processor.has("avx512_vnni", "avx_vnni", "avx512_bf16")
    assert processor.usable_cores == 12


def test_an_arm_server_is_named_by_its_part_number():
    processor = describe(parse_cpuinfo(GRAVITON3), range(4), architecture="aarch64")
    assert processor.name == "Arm Neoverse V1"
    assert processor.architecture == "arm64"
    assert processor.instruction_sets == ("neon", "dotprod", "i8mm", "bf16", "sve")
    assert processor.usable_cores == 4


def test_an_apple_processor_is_read_from_sysctl():
    processor = describe(parse_sysctl(APPLE_M2), range(8), architecture="arm64")
    assert (processor.name, processor.vendor) == ("Apple M2", "Apple")
    assert processor.instruction_sets == ("neon", "dotprod", "i8mm", "bf16")
    assert processor.physical_cores == 8
    assert processor.caches[1] == Cache(
        level=2, kind="unified", size_bytes=16 << 20, shared_by=4, instances=1
    )


def test_an_unreadable_cpuinfo_still_counts_the_cores_that_may_be_used():
    processor = describe(parse_cpuinfo(""), (0, 1, 2))
    assert processor.vendor == "unknown"
    assert processor.instruction_sets == ()
    assert processor.usable_cores == 3


def test_affinity_to_both_threads_of_one_core_is_one_usable_core():
    assert describe(parse_cpuinfo(INTEL_AMX), (0, 4)).usable_cores == 1
    assert describe(parse_cpuinfo(INTEL_AMX), (0, 1)).usable_cores == 2


@pytest.mark.parametrize(("quota", "usable"), [(2.0, 2), (2.9, 2), (0.5, 1), (64.0, 12)])
def test_a_quota_bounds_the_usable_cores(quota, usable):
    assert describe(parse_cpuinfo(AMD_ZEN3), range(12), quota).usable_cores == usable


def test_caches_are_counted_by_who_shares_them():
    files = {}
    for cpu in (0, 1):
        for index, (level, kind, size, shared) in enumerate(
            [
                (1, "Data", "48K", str(cpu)),
                (2, "Unified", "1024K", str(cpu)),
                (3, "Unified", "32768K", "0-1"),
            ]
        ):
            folder = f"/sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
            files |= {f"{folder}/level": f"{level}\n", f"{folder}/type": f"{kind}\n"}
            files |= {f"{folder}/size": f"{size}\n", f"{folder}/shared_cpu_list": f"{shared}\n"}
    caches = linux_caches(files.get, (0, 1))
    assert caches == (
        Cache(level=1, kind="data", size_bytes=48 << 10, shared_by=1, instances=2),
        Cache(level=2, kind="unified", size_bytes=1 << 20, shared_by=1, instances=2),
        Cache(level=3, kind="unified", size_bytes=32 << 20, shared_by=2, instances=1),
    )


def test_kernel_lists_and_sizes_are_read():
    assert parse_cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert parse_cpu_list("\n") == ()
    assert (parse_size("512K\n"), parse_size("2M"), parse_size("64")) == (512 << 10, 2 << 20, 64)
