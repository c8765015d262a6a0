"""Peak memory of a training step in fresh processes, and the speed of bf16 against fp32.

    python benchmarks/training_memory.py [--output FILE] [--budget 60]

Memory: with and without gradient checkpointing at T 2048 (goal: 30% less), in chunks at 4,096 and
32,768 tokens (goal: at most 1.2 times as much), reading 8,192 and 131,072 tokens in chunks (goal:
at most 1.1 times). Speed: a step of mm-rec-10m in fp32 and bf16, in turns (goal: 1.5 times).
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from ivme.measure.compare import ComparePlan, compare
from ivme.measure.fresh_process import measure_in_fresh_process
from ivme.measure.records import new_record, save_record
from mm_rec import MMRecForCausalLM, preset_config
from mm_rec.core.allocation import keep_freed_memory, return_freed_memory
from mm_rec.core.quantization import prepare_qat

HERE = Path(__file__)
RUNS = 5  # of each case


def train_step(
    preset: str,
    batch_size: int,
    tokens: int,
    chunk_size: int = 0,
    *,
    is_checkpointed: bool = False,
    is_bfloat16: bool = False,
    is_quantized: bool = False,
) -> None:
    """Train one step; chunk_size 0: the text in one piece."""
    _ = return_freed_memory() if is_checkpointed else keep_freed_memory()  # as the trainer does
    torch.manual_seed(0)
    model = MMRecForCausalLM(preset_config(preset)).train()
    if is_quantized:
        prepare_qat(model)
    if is_checkpointed:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(0, model.config.vocab_size, (batch_size, tokens))
    state = None
    for part in ids.split(chunk_size or tokens, dim=1):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            output = model(part, state=state, labels=part)
        output.loss.backward()
        state = output.state.detach()
    optimizer.step()


def read(preset: str, tokens: int, chunk_size: int) -> int:
    """Read a text in chunks without gradients, for the logits of its last token."""
    torch.manual_seed(0)
    model = MMRecForCausalLM(preset_config(preset)).eval()
    ids = torch.randint(0, model.config.vocab_size, (1, tokens))
    with torch.inference_mode():
        model(ids, chunk_size=chunk_size, logits_to_keep=1)
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="file for the record, as JSON")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for the speed of bf16")
    arguments = parser.parse_args()
    memory = measure_memory()
    for name, size in memory.items():
        print(f"{name:<40} {size / 2**20:8.0f} MiB", flush=True)
    plain, checkpointed = memory["T 2048"], memory["T 2048, checkpointed"]
    print(f"checkpointing saves {1 - checkpointed / plain:.0%}   goal 30%")
    training = memory["training 32768"] / memory["training 4096"]
    reading = memory["reading 131072"] / memory["reading 8192"]
    print(f"training, 32K over 4K: {training:.3f}   goal 1.2")
    print(f"reading, 128K over 8K: {reading:.3f}   goal 1.1")
    [speed] = compare(
        {"fp32": step_of("float32"), "bf16": step_of("bfloat16")},
        plan=ComparePlan(budget_s=arguments.budget),
    )
    low, high = (1 / bound for bound in reversed(speed.interval))
    times = f"{1 / speed.ratio:.2f} times ({low:.2f} to {high:.2f})"
    print(f"bf16 over fp32, mm-rec-10m: {times}   goal 1.5")
    if arguments.output:
        record = new_record(
            "benchmark", sys.argv, {}, {"memory_bytes": memory}, comparisons=[speed]
        )
        save_record(record, arguments.output)


def measure_memory() -> dict[str, int]:
    """Return peak resident growth, in bytes, of each case."""
    step = {"preset": "mm-rec-10m", "batch_size": 4, "tokens": 2048, "chunk_size": 0}
    cases: dict[str, tuple[str, dict]] = {
        "T 2048": ("train_step", {**step, "is_checkpointed": False}),
        "T 2048, checkpointed": ("train_step", {**step, "is_checkpointed": True}),
    }
    for tokens in (4096, 32768):
        chunked = {"preset": "mm-rec-2m", "batch_size": 1, "tokens": tokens, "chunk_size": 1024}
        cases[f"training {tokens}"] = ("train_step", {**chunked, "is_checkpointed": False})
    for tokens in (8192, 131072):
        cases[f"reading {tokens}"] = (
            "read",
            {"preset": "mm-rec-2m", "tokens": tokens, "chunk_size": 2048},
        )
    return {name: peak_bytes(function, given) for name, (function, given) in cases.items()}


def peak_bytes(function: str, arguments: dict) -> int:
    """Return the median peak of one of this file's functions, each run in a process of its own.

    Where blocks come to lie in the heap differs from run to run: peaks scatter by 10 MiB.
    """
    sys.path.insert(0, str(HERE.parent))
    try:
        runs = [measure_in_fresh_process(f"{HERE.stem}:{function}", arguments) for _ in range(RUNS)]
        return int(statistics.median(run.peak_memory_bytes for run in runs))
    finally:
        sys.path.remove(str(HERE.parent))


def step_of(dtype: str) -> Callable[[], object]:
    """Return a training step of mm-rec-10m in that precision."""
    torch.manual_seed(0)
    model = MMRecForCausalLM(preset_config("mm-rec-10m")).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(0, model.config.vocab_size, (8, 256))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
