"""What a way to compute costs in the end: final validation losses of runs that differ in one flag.

    python benchmarks/final_loss.py [--steps 400] [--seeds 3] [--text FILE] [--output FILE]

bf16 against fp32 at the mm-rec-10m preset (goal: within 1%). The same text, seeds and batches;
the ratio is of the losses of the same seed.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL = 0.01  # share of the fp32 loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--seq_len", type=int, default=128)
    parser.add_argument("--text", type=Path, help="the text; without it, the built-in corpus")
    parser.add_argument("--output", type=Path, help="file for all runs, as JSON")
    arguments = parser.parse_args()
    text = ("--data_dir", str(arguments.text)) if arguments.text else ()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        shared = (
            *(*text, "--max_steps", str(arguments.steps), "--prepared_dir", f"{folder}/data"),
            *("--batch_size", str(arguments.batch_size), "--seq_len", str(arguments.seq_len)),
        )
        for seed in range(arguments.seeds):
            for name, flags in (("fp32", ()), ("bf16", ("--use_amp",))):
                run = ("--model_name", "mm-rec-10m", *shared, "--seed", str(seed), *flags)
                runs.append(
                    {"name": name, "seed": seed, **train(run, Path(folder, f"{name}{seed}"))}
                )
                print(f"{name} seed {seed}: validation loss {runs[-1]['loss']:.4f}", flush=True)
    losses = {(run["name"], run["seed"]): run["loss"] for run in runs}
    ratios = [losses["bf16", seed] / losses["fp32", seed] for seed in range(arguments.seeds)]
    mean = statistics.mean(ratios)
    print(
        f"bf16 over fp32: mean {mean:.4f} ({min(ratios):.4f} to {max(ratios):.4f}): "
        f"{'met' if abs(mean - 1) <= GOAL else 'missed'} (goal: within {GOAL:.0%})"
    )
    if arguments.output:
        content = {"command": sys.argv, "runs": runs, "ratios": ratios}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def train(flags: tuple[str, ...], folder: Path) -> dict:
    """Return the final loss of a run and what it printed at its end."""
    quiet = ("--no-use_tensorboard", "--eval_interval", "0", "--sample_interval", "0")
    command = [sys.executable, "-m", "mm_rec.scripts.pretrain", *flags, *quiet]
    command += ["--checkpoint_dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    end = next(event for event in map(json.loads, reversed(lines)) if event["event"] == "ended")
    parameters = re.search(r"([\d,]+) parameters", done.stdout + done.stderr)
    return {
        "loss": end["evaluation"]["loss"],
        "perplexity": end["evaluation"]["perplexity"],
        "steps": end["step"],
        "tokens_seen": end["tokens_seen"],
        "training_s": end["elapsed_s"],
        "parameters": int(parameters[1].replace(",", "")) if parameters else None,
    }


if __name__ == "__main__":
    main()
