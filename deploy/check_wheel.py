"""Check that a wheel carries everything: `python deploy/check_wheel.py dist/ivme-*.whl`.

Every file under src that git knows, of whatever kind, and the four compiled modules; no other
copy of a library that torch brings.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

COMPILED = (
    "mm_rec_scan_cpu/_native",
    "ivme/ensemble/_kernels",
    "ivme/_encoder",
    "ivme/serve/loadtest/_driver",
)


def missing_files(names: set[str], sources: list[str]) -> list[str]:
    """Return what the wheel lacks of the sources (paths under src) and the compiled modules."""
    missing = [name for name in sources if name not in names]
    libraries = [name for name in names if name.endswith((".so", ".pyd"))]
    return missing + [
        name for name in COMPILED if not any(one.startswith(f"{name}.") for one in libraries)
    ]


def vendored_libraries(names: set[str]) -> list[str]:
    """Return shared libraries that are not ours: a second OpenMP would fight with torch's."""
    return [name for name in names if ".so." in name or ".libs/" in name]


def main(wheel: Path) -> int:
    """Print what is in the wheel, or what it lacks; return the exit status."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files", "src"], capture_output=True, text=True, check=True)
    sources = [line.removeprefix("src/") for line in listed.stdout.splitlines()]
    missing, foreign = missing_files(names, sources), vendored_libraries(names)
    for name in missing:
        print(f"{wheel.name} lacks {name}", file=sys.stderr)
    for name in foreign:
        print(f"{wheel.name} brings {name}, which torch has already", file=sys.stderr)
    if missing or foreign:
        return 1
    size = wheel.stat().st_size / 1e6
    print(f"{wheel}: {len(names)} files, {size:.1f} MB, nothing is missing")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name one wheel: python deploy/check_wheel.py dist/ivme-*.whl")
    sys.exit(main(Path(sys.argv[1])))
