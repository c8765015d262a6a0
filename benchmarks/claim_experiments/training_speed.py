"""Speed of MM-Rec's training step: compiled, with kernels, with all of it, and where time goes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from training_step import PLAIN, REFERENCES, Training

import mm_rec_scan_cpu
from claim_experiments.findings import (
    WARMUP_CALLS,
    Findings,
    Place,
    exact,
    fact,
    in_turns,
    over_the_best,
    samples_of,
)
from ivme.diagnose.phases import PhaseWatch
from ivme.diagnose.settings import StepSettings, describe
from ivme.diagnose.targets import find_target
from ivme.diagnose.training_step import TrainingStep, build_step
from ivme.models.corpus import corpus_text
from mm_rec.core.allocation import keep_freed_memory
from mm_rec.data.batches import BatchSource
from mm_rec.data.token_file import prepare
from mm_rec.data.tokenizers import train_tokenizer
from mm_rec.ops.memory.chunked import chunked_matrix_memory
from mm_rec.ops.memory.reference import matrix_memory

BATCH_SIZES = (2, 4, 8, 16, 32)
ITEMS = 32  # in what a call trains on, whatever the batch size
PHASE_STEPS = 40
ITEMS_CUT = 16  # of a batch


def compiled(place: Place) -> Findings:
    """Compare a step with the same one through torch.compile, in the mode that the report names."""
    keep_freed_memory()
    shape = place.size((2, 256), (2, 16))
    eager, other = (Training(preset="mm-rec-2m", shape=shape) for _ in range(2))
    other.run = torch.compile(other.model, mode="reduce-overhead", fullgraph=False)
    ways = {"eager": eager.step, "compiled": other.step}
    return Findings(comparisons=in_turns(ways, place))


def extension(place: Place) -> Findings:
    """Compare the scan of the C++ extension with what torch has, and with exp(cumsum(log))."""
    keep_freed_memory()
    gamma = torch.rand(place.size((2, 8, 4096, 64), (1, 2, 64, 8))).mul(0.1).add(0.9)
    ways = {
        "torch, exp(cumsum(log))": lambda: gamma.log().cumsum(2).exp(),
        "torch.cumprod": lambda: torch.cumprod(gamma, 2),
        "extension": lambda: mm_rec_scan_cpu.associative_scan_exponential_cpu(gamma),
    }
    return Findings(comparisons=in_turns(ways, place))


def vectorized(place: Place) -> Findings:
    """Compare the long-term memory over whole chunks with a loop over time, both in torch."""
    steps = place.size(256, 16)
    query, key, value = (torch.randn(2, steps, 4, 32) for _ in range(3))
    inputs = (query, key, value, torch.zeros(2, 1, 4, 32, 32), [1024.0])
    ways = {
        "vectorized": lambda: chunked_matrix_memory(*inputs),
        "loop over time": lambda: matrix_memory(*inputs),
    }
    return Findings(comparisons=in_turns(ways, place))


def total_speed(place: Place) -> Findings:
    """Compare a step in plain PyTorch with one that has kernels, fusion and bfloat16."""
    keep_freed_memory()
    shape = place.size((2, 256), (2, 16))
    plain = Training(preset="mm-rec-2m", shape=shape)
    fast = Training(preset="mm-rec-2m", shape=shape, is_bfloat16=True)

    def plain_step() -> None:
        with REFERENCES[PLAIN]():
            plain.step()

    ways = {"all optimizations": fast.step, "plain PyTorch": plain_step}
    return Findings(comparisons=in_turns(ways, place))


def batches(place: Place) -> Findings:
    """Compare batch sizes and workers at equal items, and find which size is best."""
    length = place.size(256, 16)
    steps = {f"batch {size}": _step(size, length) for size in BATCH_SIZES}
    for size in (2, 8, 16):
        steps[f"batch {size}, 4 workers"] = _step(size, length, workers=4)
    ways = {name: _repeated(step) for name, step in steps.items()}
    comparisons = in_turns(ways, place, warmup_calls=1)
    alone = [one for one in comparisons if "workers" not in one.variant]
    ratios = {one.variant: one.ratio for one in alone}
    chosen = min(("batch 8", "batch 16"), key=ratios.__getitem__)
    other = {"batch 8", "batch 16"} - {chosen}
    beside = over_the_best([one for one in alone if one.variant not in other], chosen)
    return Findings(comparisons=comparisons, facts={"8 or 16 over the best": beside})


def threads(place: Place) -> Findings:
    """Compare a step on one thread, half of the cores, all, and as many as torch takes itself."""
    step = _step(2, place.size(512, 32))
    chosen, cores = _default_threads(), len(os.sched_getaffinity(0))
    counts = sorted({1, max(1, cores // 2), cores, chosen})

    def on(count: int) -> Callable[[], object]:
        def run() -> None:
            torch.set_num_threads(count)
            step.run()

        return run

    names = {count: describe({"threads": count}) for count in counts}
    ways = {names[count]: on(count) for count in reversed(counts)}
    comparisons = in_turns(ways, place, has_equal_threads=False)
    beside = over_the_best(comparisons, names[chosen])
    return Findings(
        comparisons=comparisons,
        facts={"as torch chooses": exact(chosen), "as torch chooses, over the best": beside},
    )


def _default_threads() -> int:
    """Return the threads that torch takes in a fresh process which nobody tells how many."""
    program = "import torch; print(torch.get_num_threads())"
    told = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def phases(place: Place) -> Findings:
    """Take the step of the analysis apart: batch 2, items of 512 tokens."""
    step = _step(2, place.size(512, 32))
    for _ in range(3):
        step.run()
    with PhaseWatch(step.model) as watch:
        for _ in range(place.size(PHASE_STEPS, 3)):
            watch.time_step(step.run)
    seconds = watch.seconds
    pairs = zip(seconds["backward"], seconds["forward"], strict=True)
    return Findings(
        facts={
            "step_s": fact(watch.step_s),
            "forward_s": fact(seconds["forward"]),
            "backward_s": fact(seconds["backward"]),
            "optimizer_s": fact(seconds["optimizer"]),
            "backward over forward": fact([back / forward for back, forward in pairs]),
            "data, percent of the step": fact(
                [100 * d / s for d, s in zip(seconds["data"], watch.step_s, strict=True)]
            ),
        }
    )


def data(place: Place) -> Findings:
    """Time what an item of 512 tokens takes: to tokenize its text, and to be cut into a batch."""
    length, calls = place.size(512, 32), place.size(200, 20)
    tokenize = _step(2, length).tokenize_item
    assert tokenize is not None
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer("bytes", [], 257)
        files = prepare([corpus_text(2_000_000)], tokenizer, Path(folder))
        source = BatchSource(files.train, ITEMS_CUT, length, 0)
        steps = iter(range(calls + WARMUP_CALLS))
        cut_s = samples_of(lambda: source.batch(next(steps)), calls)
    tokenized_s, cut_s = samples_of(tokenize, calls), [one / ITEMS_CUT for one in cut_s]
    whole_s = [one + other for one, other in zip(tokenized_s, cut_s, strict=True)]
    return Findings(
        facts={"tokenize_s": fact(tokenized_s), "cut_s": fact(cut_s), "item_s": fact(whole_s)}
    )


def sizes(place: Place) -> Findings:
    """Count the parameters of MM-Rec and their bytes in both precisions."""
    model = Training(preset="mm-rec-2m", shape=(1, 8)).model
    count = sum(one.numel() for one in model.parameters())
    taken = {
        name: sum(one.numel() * one.element_size() for one in model.to(dtype).parameters())
        for name, dtype in (("fp32 bytes", torch.float32), ("fp16 bytes", torch.float16))
    }
    return Findings(
        facts={"parameters": exact(count), **{name: exact(size) for name, size in taken.items()}}
    )


def _step(batch_size: int, length: int, workers: int = 0) -> TrainingStep:
    """Return the trainer's own step of mm-rec-2m on the built-in corpus."""
    settings = StepSettings(batch_size=batch_size, sequence_length=length, workers=workers)
    return build_step(find_target("mm-rec-2m"), settings)


def _repeated(step: TrainingStep) -> Callable[[], None]:
    assert step.items is not None
    count = ITEMS // step.items

    def run() -> None:
        for _ in range(count):
            step.run()

    return run
