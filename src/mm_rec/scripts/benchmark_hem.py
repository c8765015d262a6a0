"""What HEM is worth: one fused input projection against six separate ones, on the same weights.

    python -m mm_rec.scripts.benchmark_hem --preset mm-rec-2m --batch_size 2 --seq_len 256

Both take turns in random order, for one block, the whole forward and a training step. Nothing is
timed unless both give the same logits to 1e-5. Prints a table and writes a record.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import RefusedError
from ivme.measure.records import Comparison, Measurement, new_record, save_record
from mm_rec.scripts.subject import Parser, Subject, run_script, settle

if TYPE_CHECKING:
    from mm_rec.model import MMRecForCausalLM

RESULTS = "benchmark_hem_results.json"
TOLERANCE = 1e-5
SEPARATE, FUSED = "separate", "fused"
Runs = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was compared, the outcome, and the median latency of each form."""

    name: str
    comparison: Comparison
    latency_s: Mapping[str, float]

    @property
    def improvement(self) -> tuple[float, float, float]:
        """Percent of time that fusing saves: the estimate, and the ends of its interval."""
        low, high = self.comparison.interval
        return tuple(100 * (1 - ratio) for ratio in (self.comparison.ratio, high, low))  # type: ignore[return-value]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark with command-line arguments; return the exit status."""
    parser = Parser("benchmark_hem", __doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each comparison")
    parser.add_argument("--output", type=Path, default=Path(RESULTS), help="the file written")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds {options.seconds}; expected a number above 0")
    command = [parser.prog, *(sys.argv[1:] if arguments is None else arguments)]

    def run() -> None:
        subject = settle(options)
        figures = compare_forms(subject, options.seconds)
        memory = {form: peak_memory(subject, form) for form in (SEPARATE, FUSED)}
        record = new_record(
            "compare",
            command,
            subject.machine(),
            subject.settings(),
            measurements=[
                _measurement(figure, form, subject, memory)
                for figure in figures
                for form in (SEPARATE, FUSED)
            ],
            comparisons=[figure.comparison for figure in figures],
            notes=["random weights: speed and memory only"],
        )
        save_record(record, options.output)
        print_table(figures, memory, subject)
        print(f"\nrecord: {options.output}")

    return run_script(run)


def compare_forms(subject: Subject, budget_s: float) -> list[Figure]:
    """Return the comparison for a block, the forward and a training step.

    Raises RefusedError if the two forms do not agree.
    """
    from ivme.measure.compare import ComparePlan, compare

    models = make_models(subject)
    check_agreement(models, subject)
    figures = []
    for name, make in (("block", _block), ("forward", _forward), ("training step", _training)):
        runs = {form: subject.waiting(make(model, subject)) for form, model in models.items()}
        [comparison] = compare(
            runs,
            baseline=SEPARATE,
            plan=ComparePlan(budget_s=budget_s),
            threads=dict.fromkeys(runs, subject.threads),
        )
        latency_s = {form: _median_s(comparison, form) for form in runs}
        comparison = replace(
            comparison,
            baseline=f"{name}, {SEPARATE}",
            variant=f"{name}, {FUSED}",
            blocks=_renamed(comparison.blocks, name),
        )
        figures.append(Figure(name=name, comparison=comparison, latency_s=latency_s))
    return figures


def make_models(subject: Subject) -> dict[str, "MMRecForCausalLM"]:
    """Return both forms of one model, with the same weights."""
    from mm_rec.core.projections import set_hem

    models = {SEPARATE: subject.model(), FUSED: subject.model()}
    set_hem(models[SEPARATE], False)
    set_hem(models[FUSED], True)
    return models


def check_agreement(models: Mapping[str, "MMRecForCausalLM"], subject: Subject) -> None:
    """Raise RefusedError unless both give the same logits: else their times mean nothing."""
    import torch

    with torch.no_grad():
        logits = [model(subject.ids()).logits for model in models.values()]
    difference = float((logits[0] - logits[1]).abs().max())
    if not difference <= TOLERANCE:
        raise RefusedError(
            f"the fused and the separate form differ by {difference:.2g} in their logits; at most "
            f"{TOLERANCE:g} is allowed, so nothing was timed. Report this as a bug."
        )


def peak_memory(subject: Subject, form: str) -> dict[str, int | None]:
    """Return the growth of memory in a fresh process that makes a model and trains a step."""
    from ivme.measure.fresh_process import measure_in_fresh_process

    arguments = {
        "config": subject.config.to_diff_dict(),
        "use_hem": form == FUSED,
        "device": subject.device,
        "threads": subject.threads,
        "shape": [subject.batch_size, subject.seq_len],
    }
    ran = measure_in_fresh_process("mm_rec.scripts.benchmark_hem:train_a_step", arguments)
    return {"cpu": ran.peak_memory_bytes, "cuda": ran.cuda_peak_memory_bytes}


def train_a_step(
    config: dict[str, Any], use_hem: bool, device: str, threads: int, shape: list[int]
) -> None:
    """Make a model and train it for a step; run in a fresh process."""
    import torch

    from mm_rec.configuration import MMRecConfig
    from mm_rec.model import MMRecForCausalLM

    torch.set_num_threads(threads)
    model = MMRecForCausalLM(MMRecConfig(**{**config, "use_hem": use_hem})).to(device)
    ids = torch.zeros(*shape, dtype=torch.int64, device=device)
    model(ids, labels=ids).loss.backward()


def print_table(
    figures: Sequence[Figure], memory: Mapping[str, Mapping[str, int | None]], subject: Subject
) -> None:
    """Print one line for each comparison, and the memory below."""
    from rich.console import Console
    from rich.table import Table

    from ivme.measure.summary import format_seconds

    tokens = subject.batch_size * subject.seq_len
    table = Table(
        title=f"HEM: fused against separate, {subject.device}, {subject.threads} threads, "
        f"batch {subject.batch_size} x {subject.seq_len}"
    )
    for column in ("", SEPARATE, FUSED, "saved (95%)", "fused is"):
        table.add_column(column)
    for figure in figures:
        saved, low, high = figure.improvement
        speeds = [
            f"{format_seconds(latency_s)}\n{tokens / latency_s:,.0f} tokens/s"
            for latency_s in figure.latency_s.values()
        ]
        interval = f"{saved:+.1f}%\n{low:+.1f} to {high:+.1f}"
        table.add_row(figure.name, *speeds, interval, figure.comparison.verdict)
    console = Console()
    console.print(table)
    for kind in ("cpu", "cuda"):
        peaks = {form: taken[kind] for form, taken in memory.items()}
        parts = [f"{form} {peak / 2**20:.1f} MiB" for form, peak in peaks.items() if peak]
        if parts:
            console.print(f"peak memory of a training step, {kind}: {', '.join(parts)}")


def _block(model: "MMRecForCausalLM", subject: Subject) -> Callable[[], object]:
    import torch

    from mm_rec.core.state import MMRecState

    with torch.no_grad():
        x = model.model.embeddings(subject.ids())
    state = MMRecState.initial(model.config, len(x), x.device).layers[0]
    return torch.no_grad()(lambda: model.model.layers[0](x, *state))


def _forward(model: "MMRecForCausalLM", subject: Subject) -> Callable[[], object]:
    import torch

    ids = subject.ids()
    return torch.no_grad()(lambda: model(ids))


def _training(model: "MMRecForCausalLM", subject: Subject) -> Callable[[], object]:
    """Return forward, backward and the optimizer's step on a copy of the model."""
    import torch

    ids, model = subject.ids(), copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()

    return step


def _median_s(comparison: Comparison, form: str) -> float:
    from ivme.measure.statistics import median

    return median([s for block in comparison.blocks for s in block["seconds"][form]])


def _renamed(blocks: Sequence[Mapping[str, Any]], what: str) -> tuple[dict[str, Any], ...]:
    """Return the blocks with each form named after what was compared: unique in the record."""

    def name(form: str) -> str:
        return f"{what}, {form}" if form in (SEPARATE, FUSED) else form

    return tuple(
        {
            **block,
            "order": [name(form) for form in block["order"]],
            "seconds": {name(form): taken for form, taken in block["seconds"].items()},
            "calls": {name(form): calls for form, calls in block["calls"].items()},
        }
        for block in blocks
    )


def _measurement(
    figure: Figure, form: str, subject: Subject, memory: Mapping[str, Mapping[str, int | None]]
) -> Measurement:
    """Return one form's samples, for a record; memory belongs to the training step."""
    label = f"{figure.name}, {form}"
    blocks = figure.comparison.blocks
    is_training = figure.name == "training step"
    saved, low, high = figure.improvement
    return Measurement(
        label=label,
        configuration={**subject.settings(), "model": "mm_rec", "use_hem": form == FUSED},
        samples_s={"latency": tuple(s for block in blocks for s in block["seconds"][label])},
        items_per_call=subject.batch_size,
        tokens_per_call=subject.batch_size * subject.seq_len,
        peak_memory_bytes=memory[form]["cpu"] if is_training else None,
        cuda_peak_memory_bytes=memory[form]["cuda"] if is_training else None,
        facts={"improvement_percent": saved, "improvement_interval_percent": [low, high]}
        if form == FUSED
        else {},
    )


if __name__ == "__main__":
    raise SystemExit(main())
