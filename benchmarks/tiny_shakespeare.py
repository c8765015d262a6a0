"""MM-Rec beside nanoGPT on one text by characters: losses in equal and in less time.

    python benchmarks/tiny_shakespeare.py --text input.txt --nanogpt FOLDER [-o out.json]

FOLDER is a checkout of nanoGPT with data/shakespeare_char prepared; its README's setting for CPUs
runs first, as its authors give it, and sets the clock. Then MM-Rec trains for an eighth of that
time and for all of it, and a larger model for 180 s. Each time is of training alone: start-up and
final evaluation are left out on both sides. Losses are of the whole last tenth of the text.
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NANOGPT = [
    *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
    *("--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128"),
    *("--max_iters=2000", "--lr_decay_iters=2000", "--dropout=0.0"),
]
LARGER_S = 180.0
SMALL = "--model_name mm-rec-1m-char --use_amp"
# In so little time steps count, not tokens: each takes fewer.
SHORT = f"{SMALL} --batch_size 8 --seq_len 128 --warmup_steps 30"
LARGE = "--model_name mm-rec-2m-char --use_amp"


def main() -> None:
    arguments = _parser().parse_args()
    nanogpt = run_nanogpt(arguments.nanogpt)
    print(f"nanoGPT: loss {nanogpt['loss']:.4f} after {nanogpt['training_s']:.1f} s", flush=True)
    whole_s = nanogpt["training_s"]
    goals = (
        ("an eighth of its time", whole_s / 8, 1.886, arguments.short),
        ("all of its time", whole_s, 1.50, arguments.small),
        ("180 s, larger", LARGER_S, 1.4697, arguments.large),
    )
    rows = []
    for name, seconds, goal, flags in goals:
        runs = [
            run_mm_rec(arguments.text, seconds, seed, flags.split())
            for seed in range(arguments.seeds)
        ]
        losses = [run["loss"] for run in runs]
        rows.append({"name": name, "seconds": seconds, "goal": goal, "flags": flags, "runs": runs})
        print(
            f"{name:<22} {seconds:6.1f} s  {runs[0]['parameters']:>9,} parameters  "
            f"{statistics.median(run['tokens_per_s'] for run in runs):>8,.0f} tokens/s  "
            f"loss {statistics.mean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f})  "
            f"goal {goal}",
            flush=True,
        )
    if arguments.output:
        content = {
            "command": sys.argv,
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "nanogpt": nanogpt,
            "mm_rec": rows,
        }
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def run_nanogpt(folder: Path) -> dict:
    """Train nanoGPT as its README says for CPUs; return its last loss and its time.

    The time is of its training loop: from the first to the last iteration that it prints.
    """
    command = [sys.executable, "-u", "train.py", "config/train_shakespeare_char.py", *NANOGPT]
    started = time.perf_counter()
    first = last = None
    losses = []
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("iter "):
            last = time.perf_counter()
            first = first or last
        if found := re.search(r"val loss ([\d.]+)", line):
            losses.append(float(found[1]))
    if process.wait() or first is None or last is None:
        raise SystemExit(f"nanoGPT failed in {folder}; prepare data/shakespeare_char first")
    ended = time.perf_counter()
    return {"loss": losses[-1], "training_s": last - first, "process_s": ended - started}


def run_mm_rec(text: Path, seconds: float, seed: int, flags: list[str]) -> dict:
    """Train MM-Rec for so long; return what the run's log says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "mm_rec.scripts.pretrain"),
            *("--data_dir", str(text.absolute()), "--validation", "tail"),
            *("--max_minutes", str(seconds / 60), "--seed", str(seed)),
            *("--checkpoint_dir", folder, "--no-use_tensorboard", *flags),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        lines = Path(folder, "log.jsonl").read_text(encoding="utf-8").splitlines()
        found = re.search(r"([\d,]+) parameters", done.stdout + done.stderr)
    end = next(event for event in map(json.loads, reversed(lines)) if event["event"] == "ended")
    return {
        "seed": seed,
        "loss": end["evaluation"]["loss"],
        "parameters": int(found[1].replace(",", "")) if found else 0,
        "training_s": end["elapsed_s"],
        "tokens_per_s": end["tokens_seen"] / end["elapsed_s"],
        "steps": end["step"],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="the text, one file")
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of nanoGPT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--short", default=SHORT, help="flags of the small model, an eighth")
    parser.add_argument("--small", default=SMALL, help="flags of the small model, all the time")
    parser.add_argument("--large", default=LARGE, help="flags of the larger model")
    parser.add_argument("-o", "--output", type=Path, help="file for all runs, as JSON")
    return parser


if __name__ == "__main__":
    main()
