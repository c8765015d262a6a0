"""Speed of MM-Rec's training step: compiled, with kernels, with all of it, and where time goes."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from training_step import PLAIN, REFERENCES, Training

import mm_rec_scan_cpu
from claim_experiments.findings import Findings, Place, exact, fact, in_turns
from ivme.diagnose.phases import PhaseWatch
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.targets import find_target
from ivme.diagnose.training_step import TrainingStep, build_step
from ivme.measure.records import Comparison
from ivme.measure.statistics import hierarchical_interval, median
from ivme.measure.verdict import log_differences
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
        "loop over time": lambda: matrix_memory(*inputs),
        "vectorized": lambda: chunked_matrix_memory(*inputs),
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

    ways = {"plain PyTorch": plain_step, "all optimizations": fast.step}
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
    return Findings(comparisons=comparisons, facts={"8 or 16 over the best": _beside_best(alone)})


def threads(place: Place) -> Findings:
    """Compare a step on one thread with one on as many as torch takes by itself."""
    step = _step(2, place.size(512, 32))

    def on(count: int) -> None:
        torch.set_num_threads(count)
        step.run()

    ways = {"1 thread": lambda: on(1), "as torch chooses": lambda: on(place.threads)}
    return Findings(comparisons=in_turns(ways, place))


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
    """Time what a batch of 16 items of 512 tokens takes to be made, an item."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer("bytes", [], 257)
        files = prepare([corpus_text(2_000_000)], tokenizer, Path(folder))
        source = BatchSource(files.train, 16, place.size(512, 32), 0)
        samples = []
        for step in range(place.size(200, 20)):
            start_s = time.perf_counter()
            source.batch(step)
            samples.append((time.perf_counter() - start_s) / 16)
    return Findings(facts={"item_s": fact(samples)})


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


def _beside_best(comparisons: list[Comparison]) -> dict[str, float]:
    """Return the time of the better of 8 and 16 over that of the best size of all."""
    ratios = {one.variant: one.ratio for one in comparisons} | {comparisons[0].baseline: 1.0}
    chosen = min(("batch 8", "batch 16"), key=ratios.__getitem__)
    best = min((name for name in ratios if name not in ("batch 8", "batch 16")), key=ratios.get)
    logs = {
        one.variant: log_differences(one.blocks, one.baseline, one.variant) for one in comparisons
    }
    zeros = [[0.0] * len(block) for block in logs[chosen]]
    pairs = zip(logs[chosen], logs.get(best, zeros), strict=True)
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in pairs]
    low, high = hierarchical_interval(differences)
    value = median([median(block) for block in differences])
    return {
        name: float(torch.tensor(one).exp()) for name, one in
        (("value", value), ("low", low), ("high", high))
    }  # fmt: skip
