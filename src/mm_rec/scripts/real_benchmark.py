"""How fast MM-Rec runs here: one block, the whole forward, and one token at a time.

    python -m mm_rec.scripts.real_benchmark --preset mm-rec-2m --batch_size 2 --seq_len 256

Prints a table and writes benchmark_results.json: a record with every raw sample, and the figures
of the table as plain fields beside them. First calls and warm-up are left out of the figures.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.measure.records import Record, new_record, save_record
from mm_rec.scripts.subject import Parser, Subject, run_script, settle

if TYPE_CHECKING:
    from ivme.measure.meter import PerformanceMeter
    from mm_rec.model import MMRecForCausalLM

RESULTS = "benchmark_results.json"
WARMUP_CALLS = 3
MOST_CALLS = 2000  # a figure: more samples say no more of a median, and fill the record


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord(Record):
    """A record with the figures of the table as fields of their own: medians of steady calls."""

    parameters: int
    block_latency_ms: float
    forward_latency_ms: float
    per_layer_latency_ms: float  # the forward's, divided by the layers: head and embedding included
    tokens_per_s: float  # of the forward
    decode_tokens_per_s: float  # one token at a time, of all texts in the batch
    decode_implementation: str
    memory_mb: float  # growth of resident memory from before the model to the end, in MiB
    cuda_memory_mb: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark with command-line arguments; return the exit status."""
    parser = Parser("real_benchmark", __doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--output", type=Path, default=Path(RESULTS), help="the file written")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds {options.seconds}; expected a number above 0")
    command = [parser.prog, *(sys.argv[1:] if arguments is None else arguments)]

    def run() -> None:
        subject = settle(options)
        record = measure(subject, options.seconds, command)
        save_record(record, options.output)
        print_table(record, subject)
        print(f"\nrecord: {options.output}")

    return run_script(run)


def measure(subject: Subject, budget_s: float, command: Sequence[str]) -> BenchmarkRecord:
    """Return the figures of a subject, each measured for `budget_s`."""
    whole = _meter("forward", subject, subject.seq_len)
    with whole.loading():
        model = subject.model()
    ids = subject.ids()
    block = _meter("block", subject, subject.seq_len)
    decode = _meter("decode", subject, 1)
    implementation, step = _decoding(model, ids)
    for meter, run in ((whole, lambda: model(ids)), (block, _block(model, ids)), (decode, step)):
        _measure(meter, run, budget_s)
    record = new_record(
        "bench",
        command,
        subject.machine(),
        subject.settings(),
        measurements=[meter.measurement() for meter in (block, whole, decode)],
        notes=["random weights: speed and memory only"],
    )
    total, cuda_bytes = whole.summary(), whole.summary().cuda_peak_memory_bytes
    forward_s, block_s = _median_s(whole), _median_s(block)
    return BenchmarkRecord(
        **{one.name: getattr(record, one.name) for one in dataclasses.fields(record)},
        parameters=model.num_parameters(),
        block_latency_ms=1e3 * block_s,
        forward_latency_ms=1e3 * forward_s,
        per_layer_latency_ms=1e3 * forward_s / subject.config.num_layers,
        tokens_per_s=subject.batch_size * subject.seq_len / forward_s,
        decode_tokens_per_s=subject.batch_size / _median_s(decode),
        decode_implementation=implementation,
        memory_mb=(total.peak_memory_bytes or 0) / 2**20,
        cuda_memory_mb=None if cuda_bytes is None else cuda_bytes / 2**20,
    )


def print_table(record: BenchmarkRecord, subject: Subject) -> None:
    """Print the figures, one a line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"MM-Rec, {record.parameters:,} parameters, fp32, {subject.device}, "
        f"{subject.threads} threads, batch {subject.batch_size} x {subject.seq_len}"
    )
    table.add_column("figure")
    table.add_column("median", justify="right")
    for name, value in _rows(record):
        table.add_row(name, value)
    Console().print(table)


def _rows(record: BenchmarkRecord) -> list[tuple[str, str]]:
    rows = [
        ("block", f"{record.block_latency_ms:.3f} ms"),
        ("forward", f"{record.forward_latency_ms:.3f} ms"),
        ("per layer, forward / layers", f"{record.per_layer_latency_ms:.3f} ms"),
        ("forward", f"{record.tokens_per_s:,.0f} tokens/s"),
        (
            f"one token at a time ({record.decode_implementation})",
            f"{record.decode_tokens_per_s:,.0f} tokens/s",
        ),
        ("peak memory", f"{record.memory_mb:.1f} MiB"),
    ]
    if record.cuda_memory_mb is not None:
        rows.append(("peak CUDA memory", f"{record.cuda_memory_mb:.1f} MiB"))
    return rows


def _meter(label: str, subject: Subject, tokens: int) -> "PerformanceMeter":
    from ivme.measure.meter import PerformanceMeter

    return PerformanceMeter(
        label,
        items_per_call=subject.batch_size,
        tokens_per_call=subject.batch_size * tokens,
        device=subject.device,
        configuration={**subject.settings(), "tokens": tokens, "model": "mm_rec"},
        warmup_calls=WARMUP_CALLS,
    )


def _measure(meter: "PerformanceMeter", run: Callable[[], object], budget_s: float) -> None:
    import torch

    with torch.inference_mode():
        meter.measure(run, budget_s=budget_s, calls=MOST_CALLS)


def _block(model: "MMRecForCausalLM", ids: object) -> Callable[[], object]:
    """Return a call of the first block on the embedded ids."""
    import torch

    from mm_rec.core.state import MMRecState

    with torch.inference_mode():
        x = model.model.embeddings(ids)
    state = MMRecState.initial(model.config, len(x), x.device).layers[0]
    return lambda: model.model.layers[0](x, *state)


def _decoding(model: "MMRecForCausalLM", ids: "object") -> tuple[str, Callable[[], object]]:
    """Return what computes single tokens, and a call that reads one more of each text."""
    from mm_rec.decoding import Decoder

    first = ids[:, 0].contiguous()  # type: ignore[index]
    decoder = Decoder(model, batch_size=len(first))
    return decoder.implementation, lambda: decoder.step(first)


def _median_s(meter: "PerformanceMeter") -> float:
    latency = meter.summary().latency_s
    assert latency is not None, "measure() ends after one steady call at least"
    return latency.median


if __name__ == "__main__":
    raise SystemExit(main())
