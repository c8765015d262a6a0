"""What each mechanism of MM-Rec is worth: training with and without it, at equal steps.

Run `python benchmarks/ablations.py --task text --text FILE` (without a file: the built-in corpus)
or `--task recall`. Every variant sees the same batches in the same order as the default; seeds
differ in initial weights and batches. Differences are means over seeds of variant minus default,
with the 95% interval of Student's t over the pairs; times are processor time on one thread.
"""

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ivme.models.corpus import corpus_text
from mm_rec.blocks import memory_attention
from mm_rec.configuration import MMRecConfig
from mm_rec.model import MMRecForCausalLM
from mm_rec.ops.memory import chunked_memory
from mm_rec.ops.memory.chunked import chunked_matrix_memory, normalized, write_keys
from mm_rec.training.schedule import make_schedule, parameter_groups

TEXT_MODEL = {"model_dim": 64, "num_layers": 4}
BATCH_SIZE, LENGTH = 8, 128
PEAK_RATE, WARMUP_SHARE, WEIGHT_DECAY = 3e-3, 0.1, 0.1
VALIDATION_CHARACTERS = 100_000  # the last ones of the text
RECALL_MODEL = {"model_dim": 64, "num_layers": 2, "num_heads": 1}
RECALL_STEPS = 900
RECALL_GOAL = 0.99
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # 97.5%, 1 to 9 df

Replacement = tuple[ModuleType, str, Callable[..., Any]]


def bounded(key: Tensor) -> Tensor:
    """Return the key, shortened to a length of one where it is longer."""
    return key / key.norm(dim=-1, keepdim=True).clamp(min=1)


def bounded_key_memory(
    query: Tensor, key: Tensor, value: Tensor, memory: Tensor, scales: list[float]
) -> tuple[Tensor, Tensor]:
    """Return reads and the last memory, as the default, of writes with keys bounded."""
    return chunked_matrix_memory(query, bounded(key), value, memory, scales)


def delta_rule_memory(
    query: Tensor, key: Tensor, value: Tensor, memory: Tensor, scales: list[float]
) -> tuple[Tensor, Tensor]:
    """Return reads [B, 1, T, H, d] and the last memory where only what is new is written.

    S[t] = decay S[t-1] + w (v - decay S[t-1]^T w)^T with w the bounded write key: longer than
    one, writes grow without end. All T writes solve one triangular system: write t depends on
    those before it. One bank only.
    """
    (scale,) = scales
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, bounded(key), value))
    places = torch.arange(query.shape[2], dtype=query.dtype)
    age = places.unsqueeze(-1) - places
    fade = torch.exp(-age.clamp(min=0) / scale)
    since_start = torch.exp(-(places + 1) / scale).unsqueeze(-1)
    start = memory[:, 0]
    overlap = ((key @ key.transpose(-1, -2)) * fade).tril(-1)
    new = value - (since_start * key) @ start
    writes = torch.linalg.solve_triangular(overlap, new, upper=False, unitriangular=True)
    reads = ((query @ key.transpose(-1, -2)) * fade).tril() @ writes + (since_start * query) @ start
    last = since_start[-1] * start + (key * fade[-1].unsqueeze(-1)).transpose(-1, -2) @ writes
    return reads.transpose(1, 2).unsqueeze(1), last.unsqueeze(1)


def own_key_memory(
    query: Tensor,
    priority_logit: Tensor,
    key: Tensor,
    first_key: Tensor,
    value: Tensor,
    memory: Tensor,
    scales: list[float],
    lengths: None,
) -> tuple[Tensor, Tensor]:
    """Return reads and the last memory of writes under k[t], in place of k[t-1]."""
    before = torch.roll(key, -1, dims=1)  # whose shift by one is the key itself
    return chunked_memory(query, priority_logit, before, key[:, 0], value, memory, scales, lengths)


def write_less_at_first(model: MMRecForCausalLM) -> None:
    """Set the bias of the priority gates to -4, a writing of 1.8% in place of 12%."""
    for block in model.model.layers:
        hem = block.hem
        parts = hem.W_fused.bias.detach().split(list(hem.widths.values()))
        dict(zip(hem.widths, parts, strict=True))["p"].fill_(-4.0)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a model differs from the default: settings, functions replaced, initial weights."""

    settings: dict[str, Any] = field(default_factory=dict)
    replacements: tuple[Replacement, ...] = ()
    initialize: Callable[[MMRecForCausalLM], None] | None = None


def _memory_by(function: Callable[..., Any]) -> Variant:
    return Variant(replacements=((memory_attention, "chunked_memory", function),))


def _read_by(function: Callable[..., Any]) -> Variant:
    """Return the variant whose reads of queries and write keys, by head, are a function's."""

    def run(
        query: Tensor,
        priority_logit: Tensor,
        key: Tensor,
        first_key: Tensor,
        value: Tensor,
        memory: Tensor,
        scales: list[float],
        _: None,
    ) -> tuple[Tensor, Tensor]:
        key = write_keys(priority_logit, key, first_key)
        heads = (tensor.unflatten(-1, memory.shape[2:4]) for tensor in (query, key, value))
        reads, last = function(*heads, memory, scales)
        return normalized(reads).flatten(3), last

    return _memory_by(run)


VARIANTS = {
    "default": Variant(),
    "variance-preserving": Variant(settings={"input_scale": "variance"}),
    "exact": Variant(settings={"recurrence": "exact"}),
    "no-memory": Variant(settings={"num_memories": 0}),
    "two-banks": Variant(settings={"num_memories": 2}),
    "two-far-banks": Variant(settings={"num_memories": 2, "memory_time_scales": [16.0, 8192.0]}),
    "bounded-keys": _read_by(bounded_key_memory),
    "delta-rule": _read_by(delta_rule_memory),
    "priority-4": Variant(initialize=write_less_at_first),
    "own-key": _memory_by(own_key_memory),
    "uboo": Variant(settings={"use_uboo": True}),
}


@contextmanager
def replaced(replacements: Sequence[Replacement]) -> Iterator[None]:
    """Run with functions replaced; an error if one of them never ran."""
    ran = set()

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            ran.add(name)
            return function(*arguments)

        return run

    with ExitStack() as stack:
        for module, name, function in replacements:
            stack.enter_context(patch.object(module, name, noting(name, function)))
        yield
    missing = {name for _, name, _ in replacements} - ran
    if missing:
        raise RuntimeError(f"{', '.join(missing)} never ran: the model no longer calls it.")


def build(variant: Variant, seed: int, **settings: Any) -> MMRecForCausalLM:
    torch.manual_seed(seed)
    model = MMRecForCausalLM(MMRecConfig(**{**settings, **variant.settings}))
    if variant.initialize is not None:
        variant.initialize(model)
    return model


def train_on_text(variant: Variant, seed: int, ids: Tensor, steps: int) -> dict[str, float]:
    """Return the validation loss, and the spread and processor time of the training steps."""
    model = build(variant, seed, vocab_size=int(ids.max()) + 1, **TEXT_MODEL)
    training, validation = ids[:-VALIDATION_CHARACTERS], ids[-VALIDATION_CHARACTERS:]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, WEIGHT_DECAY), lr=PEAK_RATE, betas=(0.9, 0.99), fused=True
    )
    share = make_schedule("cosine", int(WARMUP_SHARE * steps), steps, 0.05)
    generator = torch.Generator().manual_seed(seed)
    losses, times_s = [], []
    for step in range(steps):
        starts = torch.randint(len(training) - LENGTH, (BATCH_SIZE, 1), generator=generator)
        texts = training[starts + torch.arange(LENGTH + 1)]
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * share(step)
        before = time.process_time()
        output = model(texts[:, :-1], shift_labels=texts[:, 1:])
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times_s.append(time.process_time() - before)
        losses.append(output.cross_entropy.item())
    return {
        "validation_loss": _mean_loss(model, validation),
        "loss_variance": _variance_about_line(losses[steps // 2 :]),
        "step_s": statistics.median(times_s),
    }


@torch.no_grad()
def _mean_loss(model: MMRecForCausalLM, ids: Tensor) -> float:
    """Return the mean loss over the texts, each read from an empty state."""
    model.eval()
    count = (len(ids) - 1) // LENGTH * LENGTH
    texts, labels = ids[:count].view(-1, LENGTH), ids[1 : count + 1].view(-1, LENGTH)
    batches = zip(texts.split(64), labels.split(64), strict=True)
    losses = [model(t, shift_labels=s).cross_entropy.item() * len(t) for t, s in batches]
    return sum(losses) / len(texts)


def _variance_about_line(losses: Sequence[float]) -> float:
    slope, intercept = statistics.linear_regression(range(len(losses)), losses)
    return statistics.fmean((loss - intercept - slope * x) ** 2 for x, loss in enumerate(losses))


def train_on_recall(variant: Variant, seed: int, task: ModuleType) -> dict[str, float]:
    """Return the accuracy on texts that did not decide when to stop, the steps, and the time."""
    model = build(variant, seed, vocab_size=task.VOCABULARY, **RECALL_MODEL)
    generator = torch.Generator().manual_seed(seed)
    before = time.process_time()
    steps = task.train(
        model,
        lambda: task.make_texts(generator, 32, 64),
        target=0.992,
        texts=task.held_out(2 * seed, 256, 128),
        most_steps=RECALL_STEPS,
        rate=5e-3,
    )
    elapsed_s = time.process_time() - before
    scored = task.held_out(2 * seed + 1, 256, 128)
    return {"accuracy": task.accuracy(model, *scored), "steps": steps, "elapsed_s": elapsed_s}


def recall_task() -> ModuleType:
    """Return the task that the tests train on, from the file beside them."""
    path = Path(__file__).parents[1] / "tests" / "mm_rec" / "recall.py"
    specification = importlib.util.spec_from_file_location("recall", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def character_ids(text: str) -> Tensor:
    """Return each character's place among the sorted characters of the text."""
    numbers = {letter: number for number, letter in enumerate(sorted(set(text)))}
    return torch.tensor([numbers[letter] for letter in text])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run and its figures."""

    variant: str
    seed: int
    figures: dict[str, float]


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95% interval by Student's t."""
    mean = statistics.fmean(values)
    half = T_QUANTILES[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def print_text(runs: Sequence[Run]) -> None:
    default = {run.seed: run.figures for run in runs if run.variant == "default"}
    losses = [figures["validation_loss"] for figures in default.values()]
    spread = f"{min(losses):.4f}-{max(losses):.4f}"
    print(f"default: validation loss {statistics.fmean(losses):.4f} ({spread} over the seeds)\n")
    print(f"{'variant':<20}{'difference':>10}  {'95% interval':<19}loss variance  step time")
    for name in dict.fromkeys(run.variant for run in runs if run.variant != "default"):
        pairs = [(run.figures, default[run.seed]) for run in runs if run.variant == name]
        mean, low, high = mean_interval(
            [one["validation_loss"] - other["validation_loss"] for one, other in pairs]
        )
        variance, step = (
            math.exp(
                statistics.fmean(math.log(one[figure] / other[figure]) for one, other in pairs)
            )
            for figure in ("loss_variance", "step_s")
        )
        interval = f"{low:+.4f} to {high:+.4f}"
        print(f"{name:<20}{mean:>+10.4f}  {interval:<19}{variance:>12.2f}x {step:>9.2f}x")


def print_recall(runs: Sequence[Run]) -> None:
    print(f"{'variant':<20}{'above 99%':>10}{'accuracy':>10}{'steps':>7}{'time, s':>9}  each run")
    for name in dict.fromkeys(run.variant for run in runs):
        of_name = [run.figures for run in runs if run.variant == name]
        accuracies, steps, times_s = (
            [figures[key] for figures in of_name] for key in ("accuracy", "steps", "elapsed_s")
        )
        reached = f"{sum(value > RECALL_GOAL for value in accuracies)} of {len(of_name)}"
        print(
            f"{name:<20}{reached:>10}{statistics.median(accuracies):>10.3f}"
            f"{statistics.median(steps):>7.0f}{statistics.median(times_s):>9.1f}  "
            + " ".join(f"{value:.3f}" for value in accuracies)
        )


def main() -> int:
    options = _parser().parse_args()
    torch.set_num_threads(1)
    names = list(dict.fromkeys(["default", *(options.only or VARIANTS)]))
    if options.task == "text":
        text = options.text.read_text(encoding="utf-8") if options.text else corpus_text()
        ids = character_ids(text)
        run, show = lambda *which: train_on_text(*which, ids, options.steps), print_text
    else:
        task = recall_task()
        run, show = lambda *which: train_on_recall(*which, task), print_recall
    runs = []
    for seed in range(1, options.seeds + 1):
        for name in names:
            variant = VARIANTS[name]
            with replaced(variant.replacements):
                runs.append(Run(variant=name, seed=seed, figures=run(variant, seed)))
            print(f"seed {seed}, {name}: {runs[-1].figures}", file=sys.stderr, flush=True)
    show(runs)
    if options.output:
        record = {"command": sys.argv, "torch": torch.__version__, "runs": [*map(asdict, runs)]}
        options.output.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=("text", "recall"), default="text")
    parser.add_argument("--text", type=Path, help="UTF-8 file; without it, the built-in corpus")
    parser.add_argument(
        "--only", nargs="+", choices=sorted(VARIANTS), help="variants to train beside the default"
    )
    parser.add_argument("--steps", type=int, default=400, help="of each run on text")
    parser.add_argument("--seeds", type=int, choices=range(2, 11), default=3, metavar="2-10")
    parser.add_argument("--output", type=Path, help="file for the figures of all runs, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
