from ivme.hardware.cgroup import CgroupLimits, parse_membership, read_limits


def test_a_container_of_version_2_bounds_processor_time_and_memory():
    files = {
        "/proc/self/cgroup": "0::/docker/abc\n",  # the host's path: not there inside
        "/sys/fs/cgroup/cpu.max": "150000 100000\n",
        "/sys/fs/cgroup/memory.max": "2147483648\n",
        "/sys/fs/cgroup/memory.current": "500000000\n",
        "/sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 200000000\n",
    }
    assert read_limits(files.get) == CgroupLimits(
        quota_cores=1.5, memory_limit_bytes=2 << 30, memory_used_bytes=300_000_000
    )


def test_the_tightest_ancestor_counts():
    files = {
        "/proc/self/cgroup": "0::/user.slice/job.scope\n",
        "/sys/fs/cgroup/user.slice/job.scope/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/user.slice/cpu.max": "400000 100000\n",
        "/sys/fs/cgroup/user.slice/job.scope/memory.max": "max\n",
        "/sys/fs/cgroup/user.slice/memory.max": "1073741824\n",
    }
    limits = read_limits(files.get)
    assert limits.quota_cores == 4.0
    assert limits.memory_limit_bytes == 1 << 30


def test_version_1_is_read_with_its_word_for_no_limit():
    files = {
        "/proc/self/cgroup": "4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n",
        "/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "250000\n",
        "/sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert read_limits(files.get) == CgroupLimits(quota_cores=2.5)


def test_a_machine_without_control_groups_has_no_limits():
    assert read_limits({}.get) == CgroupLimits()


def test_membership_lists_each_controller():
    text = "3:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n"
    assert parse_membership(text) == {
        "cpu": "/a",
        "cpuacct": "/a",
        "name=systemd": "/b:c",
        "": "/d",
    }
