"""Machines made up for tests: inventories and ceilings with what a test cares about."""

from dataclasses import replace

import pytest

from ivme.hardware.accelerators import Accelerator
from ivme.hardware.ceilings import Ceilings, CopyRate, ProductRate
from ivme.hardware.inventory import Inventory, Memory, OperatingSystem
from ivme.hardware.processor import Cache, Processor

PROCESSOR = Processor(
    name="AMD EPYC",
    vendor="AMD",
    architecture="x86_64",
    physical_cores=2,
    logical_cores=2,
    affinity_cores=2,
    quota_cores=None,
    usable_cores=2,
    instruction_sets=("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"),
    caches=(
        Cache(level=2, kind="unified", size_bytes=1 << 20, shared_by=1, instances=2),
        Cache(level=3, kind="unified", size_bytes=32 << 20, shared_by=2, instances=1),
    ),
)
MEMORY = Memory(
    total_bytes=24 << 30, available_bytes=20 << 30, installed_bytes=24 << 30, limit_bytes=None
)
H200 = Accelerator(
    kind="cuda",
    index=0,
    name="NVIDIA H200",
    memory_bytes=139 << 30,
    capability="9.0",
    is_usable=True,
)


def inventory_with(processor=None, **fields):
    made = Inventory(
        processor=replace(PROCESSOR, **(processor or {})),
        memory=MEMORY,
        accelerators=(),
        torch=None,
        system=OperatingSystem(name="Linux", release="6", transparent_hugepages="madvise"),
        python="3.11.7",
        versions={"torch": "2.13.0"},
        environment={},
        fingerprint="0123456789abcdef",
    )
    return replace(made, **fields)


def product_with(path, precision, rate, library="torch", **fields):
    made = ProductRate(
        path=path,
        library=library,
        precision=precision,
        how=path,
        device="cpu",
        threads=2,
        operations_per_s=rate,
        best_size=1024,
        spread=1.02,
        is_confirmed=True,
    )
    return replace(made, **fields)


def ceilings_with(*products, **fields):
    copy = CopyRate(
        level="memory",
        device="cpu",
        threads=2,
        working_set_bytes=256 << 20,
        bytes_per_sample=256 << 20,
        bytes_per_s=45e9,
        spread=1.02,
        seconds=(0.006, 0.006, 0.006),
        is_confirmed=True,
    )
    made = Ceilings(
        fingerprint="0123456789abcdef",
        accelerators=(),
        plan="full",
        threads=2,
        created_at="2026-01-01T00:00:00+00:00",
        elapsed_s=10.0,
        products=products,
        copies=(copy,),
        busy_share=0.01,
        openvino_default_precision="fp32",
    )
    return replace(made, **fields)


@pytest.fixture
def make_inventory():
    return inventory_with


@pytest.fixture
def make_product():
    return product_with


@pytest.fixture
def make_ceilings():
    return ceilings_with


@pytest.fixture
def h200():
    return H200


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return the cache folder of this test alone."""
    monkeypatch.setenv("IVME_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
