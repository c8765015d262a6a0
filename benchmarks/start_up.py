"""How soon a training run takes its first step on much data, and what memory it takes.

    python benchmarks/start_up.py [--megabytes 500] [--folder out/start_up] [--output FILE]

The built-in corpus is repeated to so many megabytes of text and prepared once: bytes, two bytes a
token, so 500 MB become a token file of 1 GB. Then whole processes are timed, from their start to
the line of their first step: fresh, and resumed at a position in the middle and near the end of
the data (goal: under 5 s at any position). The same with a tenth of the data says whether memory
grows with it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ivme.hardware.inventory import read_inventory
from ivme.models.corpus import corpus_documents
from mm_rec.training.checkpoint import load_newest, save_checkpoint
from mm_rec.training.files import remove_folder

GOAL_S = 5.0
BATCH_SIZE, SEQ_LEN = 8, 256
SHARE_HELD_OUT = 0.0001  # a run ends with the loss on all of it, which is not measured here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500, help="of text")
    parser.add_argument("--folder", type=Path, default=Path("out/start_up"))
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    rows = []
    for megabytes in (arguments.megabytes // 10, arguments.megabytes):
        rows += measure(arguments.folder / f"{megabytes}", megabytes)
    if arguments.output:
        machine = {"processor": read_inventory().processor.name}
        content = {"command": sys.argv, "machine": machine, "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, megabytes: int) -> list[dict]:
    """Return the figures of a start at each position, on so many megabytes of text."""
    text = folder / "text.txt"
    write_text(text, megabytes)
    flags = (
        *("--data_dir", str(text), "--tokenizer", "bytes", "--validation", "tail"),
        *("--validation_share", str(SHARE_HELD_OUT), "--prepared_dir", str(folder / "prepared")),
        *("--batch_size", str(BATCH_SIZE), "--seq_len", str(SEQ_LEN), "--log_interval", "1"),
        *("--model_name", "mm-rec-1m-char", "--no-use_tensorboard"),
    )
    first_step(flags, folder / "preparing", steps=1)  # prepares the tokens
    data_bytes = (folder / "prepared" / "tokens" / "train.tokens").stat().st_size
    steps_in_all = data_bytes // 2 // (BATCH_SIZE * SEQ_LEN)
    rows = []
    for name, position in (("fresh", 0), ("middle", steps_in_all // 2), ("end", steps_in_all - 2)):
        run = folder / name
        if position:
            move(folder / "preparing", run, position)
        start_s, peak_bytes = first_step(flags, run, steps=position + 1, resume=bool(position))
        row = {
            "data_bytes": data_bytes,
            "position": name,
            "step": position + 1,
            "first_step_after_s": start_s,
            "peak_memory_bytes": peak_bytes,
            "is_met": start_s < GOAL_S,
        }
        print(
            f"{data_bytes / 1e6:,.0f} MB of tokens, {name} (step {position + 1:,}): first step "
            f"after {start_s:.2f} s, peak memory {peak_bytes / 2**20:,.0f} MiB",
            flush=True,
        )
        rows.append(row)
        remove_folder(run)
    remove_folder(folder)
    return rows


def write_text(path: Path, megabytes: int) -> None:
    """Write the corpus, over and over, until the file has its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corpus = "\n".join(corpus_documents()).encode()
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write(corpus)


def first_step(
    flags: tuple[str, ...], run: Path, *, steps: int, resume: bool = False
) -> tuple[float, int]:
    """Run until `steps`; return the seconds to the line of the first step, and peak memory."""
    command = [sys.executable, "-m", "mm_rec.scripts.pretrain", *flags, "--max_steps", str(steps)]
    command += ["--resume_from", str(run)] if resume else ["--checkpoint_dir", str(run)]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    first_s, lines = None, []
    for line in process.stderr:
        lines.append(line)
        if first_s is None and line.startswith("step "):
            first_s = time.perf_counter() - started
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or first_s is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{''.join(lines)}")
    return first_s, usage.ru_maxrss * 1024


def move(source: Path, target: Path, step: int) -> None:
    """Write the checkpoint of a run anew, as if it had come to `step`."""
    checkpoint = load_newest(source, warn=print)
    state = {**checkpoint.state, "step": step}
    state["settings"] = {**state["settings"], "checkpoint_dir": str(target)}

    def write_model(folder: Path) -> None:
        for path in checkpoint.folder.iterdir():
            if not path.name.startswith(("training.", "manifest")):
                (folder / path.name).write_bytes(path.read_bytes())

    target.mkdir(parents=True)
    save_checkpoint(target, step, state, write_model, keep=1)


if __name__ == "__main__":
    main()
