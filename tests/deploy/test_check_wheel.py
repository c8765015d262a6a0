import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "deploy" / "check_wheel.py"
COMPILED = (
    "mm_rec_scan_cpu/_native.so",
    "ivme/ensemble/_kernels.so",
    "ivme/_encoder.so",
    "ivme/serve/loadtest/_driver.so",
)


@pytest.fixture(scope="module")
def sources() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [line.removeprefix("src/") for line in listed.stdout.splitlines()]


def check(folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    wheel = folder / "ivme-0.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return subprocess.run(
        [sys.executable, str(CHECK), str(wheel)], cwd=ROOT, capture_output=True, text=True
    )


def test_a_whole_wheel_passes(sources, tmp_path):
    outcome = check(tmp_path, [*sources, *COMPILED])
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.endswith("nothing is missing\n")


def test_what_is_missing_is_named(sources, tmp_path):
    page = "ivme/serve/page/index.html"
    outcome = check(tmp_path, [name for name in sources if name != page] + [COMPILED[0]])
    assert outcome.returncode == 1
    assert f"lacks {page}" in outcome.stderr
    assert "lacks ivme/ensemble/_kernels" in outcome.stderr


def test_a_second_openmp_is_refused(sources, tmp_path):
    outcome = check(tmp_path, [*sources, *COMPILED, "ivme.libs/libgomp-a34b3233.so.1.0.0"])
    assert outcome.returncode == 1
    assert "brings ivme.libs/libgomp" in outcome.stderr
