"""Runs every benchmark, one after the other, and keeps what each prints and writes.

    python benchmarks/run_all.py [--folder out/benchmarks] [--only NAME ...]

The machine should do nothing else meanwhile. A benchmark whose correctness gate is red, or that
fails, is named at the end, and the exit status is 1.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = {  # name -> why
    "tiny_shakespeare": "needs a text and a peer that the project does not hold",
    "ablations": "trains for long",
    "final_loss": "trains for long",
    "claims": "`ivme claims` runs it",
    "packaged_language_model": "writes a model; it measures nothing",
    "serving": "needs the folder of a plan or an ensemble",
    "page_latency": "needs the folder of a plan or an ensemble, and a browser",
    "plain_server": "is no benchmark: serving.py starts it",
    "served": "is no benchmark: it starts what serving.py and page_latency.py ask",
    "fine_tuning": "is no benchmark: it trains a classifier for others",
    "ensemble_quality": "needs texts that the project does not hold",
}
NO_RECORD = ("loadtest_ceiling", "meter_overhead")  # these print, and take no --output


def main() -> int:
    names = benchmark_names()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    failed = [name for name in arguments.only if not run(name, arguments.folder)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def benchmark_names() -> list[str]:
    """Return the benchmarks that run without being told anything."""
    left_out = (Path(__file__).stem, *LEFT_OUT)
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in left_out)


def run(name: str, folder: Path) -> bool:
    """Return whether the benchmark ended well; its output goes to the terminal and to a file."""
    command = [sys.executable, str(HERE / f"{name}.py")]
    if name not in NO_RECORD:
        command += ["--output", str(folder / f"{name}.json")]
    print(f"\n== {name}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
