"""The limits that a container or a service manager sets: processor time and memory.

Control groups of version 1 and 2. The kernel applies the tightest limit on the way up to the
root, so each ancestor is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ivme.hardware.processor import TextReader, read_text

MOUNT = "/sys/fs/cgroup"
UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as the largest page-aligned integer


@dataclass(frozen=True, kw_only=True)
class CgroupLimits:
    """What the control groups of this process allow; None: no limit."""

    quota_cores: float | None = None
    memory_limit_bytes: int | None = None
    memory_used_bytes: int | None = None  # under that limit, reclaimable file pages left out


def parse_membership(text: str) -> dict[str, str]:
    """Return controller -> path from /proc/self/cgroup; version 2 stands under ""."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.strip().split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def parse_cpu_max(text: str) -> float | None:
    """Return the cores that a version 2 cpu.max allows: "150000 100000" is 1.5."""
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" else int(quota) / int(period or 100_000)


def parse_memory_limit(text: str) -> int | None:
    """Return the bytes of memory.max or memory.limit_in_bytes, None for no limit."""
    text = text.strip()
    if text == "max" or int(text) >= UNLIMITED_BYTES:
        return None
    return int(text)


def read_limits(read: TextReader = read_text) -> CgroupLimits:
    """Return the limits on this process, from files that `read` gives."""
    membership = parse_membership(read("/proc/self/cgroup") or "")
    quotas = [*_quotas_v2(read, membership.get("", "/")), *_quotas_v1(read, membership)]
    groups = sorted(_memory_groups(read, membership))
    limit, used = groups[0] if groups else (None, None)
    return CgroupLimits(
        quota_cores=min(quotas, default=None),
        memory_limit_bytes=limit,
        memory_used_bytes=used,
    )


def _ancestors(root: str, path: str) -> Iterator[str]:
    """Yield the folder of a group and of each ancestor, up to the mount itself.

    Inside a container the mount is the container's own group while the path is the host's: then
    only the mount exists, and it comes last.
    """
    parts = [part for part in path.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        yield "/".join([root, *parts[:length]])


def _quotas_v2(read: TextReader, path: str) -> Iterator[float]:
    for folder in _ancestors(MOUNT, path):
        text = read(f"{folder}/cpu.max")
        quota = parse_cpu_max(text) if text else None
        if quota is not None:
            yield quota


def _quotas_v1(read: TextReader, membership: dict[str, str]) -> Iterator[float]:
    if "cpu" not in membership:
        return
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _ancestors(f"{MOUNT}/{mount}", membership["cpu"]):
            quota, period = read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us")
            if quota and period and int(quota) > 0:
                yield int(quota) / int(period)


def _memory_groups(read: TextReader, membership: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield (limit, used) in bytes of each group that has a memory limit."""
    layouts = [(MOUNT, membership.get("", "/"), "memory.max", "memory.current", "inactive_file")]
    if "memory" in membership:
        v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        layouts.append((f"{MOUNT}/memory", membership["memory"], *v1))
    for root, path, limit_file, usage_file, reclaimable in layouts:
        for folder in _ancestors(root, path):
            text = read(f"{folder}/{limit_file}")
            limit = parse_memory_limit(text) if text else None
            if limit is None:
                continue
            statistics = dict(
                line.split(" ", 1) for line in (read(f"{folder}/memory.stat") or "").splitlines()
            )
            used = int(read(f"{folder}/{usage_file}") or 0) - int(statistics.get(reclaimable, 0))
            yield limit, max(0, used)
