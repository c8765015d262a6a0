"""Measures one named experiment of the claims ledger and writes its record.

    python benchmarks/claims.py NAME --output record.json

`ivme claims` runs these; run one alone to see every raw sample behind a verdict. What is compared
takes turns in random order (ivme.measure.compare); memory is that of fresh processes. `--tiny`
runs on small models for a second each: only to see that an experiment works.
"""

import argparse
import importlib
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from claim_experiments.findings import Findings, Place, usable_threads

from ivme.hardware.inventory import read_inventory
from ivme.hardware.threads import ThreadSettings, apply_threads
from ivme.measure.records import Measurement, Record, new_record, save_record
from ivme.models.quiet import quiet_libraries

EXPERIMENTS = {  # name -> module and function in claim_experiments
    "compile": "training_speed:compiled",
    "extension": "training_speed:extension",
    "vectorized": "training_speed:vectorized",
    "total-speed": "training_speed:total_speed",
    "batches": "training_speed:batches",
    "threads": "training_speed:threads",
    "phases": "training_speed:phases",
    "data": "training_speed:data",
    "sizes": "training_speed:sizes",
    "chunking": "training_memory_use:chunking",
    "checkpointing": "training_memory_use:checkpointing",
    "mixed-precision": "training_memory_use:mixed_precision",
    "quantization": "training_memory_use:quantization",
    "total-memory": "training_memory_use:total_memory",
    "adaptive-rate": "learning:adaptive_rate",
    "sentence-times": "encoder_speed:sentence_times",
    "text-times": "encoder_speed:text_times",
    "gpu-gain": "encoder_speed:gpu_gain",
    "gradients": "encoder_speed:gradients",
    "padding": "encoder_speed:padding",
    "pipeline": "encoder_speed:pipeline",
    "batch-sizes": "encoder_speed:batch_sizes",
    "dynamic-int8": "encoder_speed:dynamic_int8",
    "onnx-runtime": "encoder_speed:onnx_runtime",
    "shorter-texts": "encoder_speed:shorter_texts",
    "load-time": "encoder_speed:load_time",
    "first-request": "encoder_speed:first_request",
    "process-memory": "encoder_memory:process_memory",
    "gradient-memory": "encoder_memory:gradient_memory",
    "shorter-text-memory": "encoder_memory:shorter_text_memory",
    "model-sizes": "encoder_memory:model_sizes",
    "ensemble-memory": "encoder_memory:whole_ensemble",
}


def main() -> int:
    options = _parser().parse_args()
    apply_threads(ThreadSettings(intra=options.threads))
    torch.manual_seed(0)
    place = Place(
        budget_s=1.0 if options.tiny else options.budget,
        threads=options.threads,
        is_tiny=options.tiny,
        device=options.device,
    )
    module, _, function = EXPERIMENTS[options.name].partition(":")
    with quiet_libraries():
        measure = getattr(importlib.import_module(f"claim_experiments.{module}"), function)
    record = _record(options, measure(place))
    if options.output:
        save_record(record, options.output)
    _print(record)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--output", "-o", type=Path, help="file for the record, as JSON")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds for a comparison")
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where one is chosen")
    parser.add_argument("--tiny", action="store_true", help="only to see that it runs")
    return parser


def _record(options: argparse.Namespace, findings: Findings) -> Record:
    settings = {name: str(value) for name, value in vars(options).items()}
    return new_record(
        "claim",
        ["benchmarks/claims.py", *sys.argv[1:]],
        asdict(read_inventory(with_torch=True)),
        settings,
        measurements=[
            Measurement(label=name, configuration={"threads": options.threads}, facts=figure)
            for name, figure in findings.facts.items()
        ],
        comparisons=findings.comparisons,
        notes=["tiny models and sizes: the figures mean nothing"] if options.tiny else [],
    )


def _print(record: Record) -> None:
    for one in record.comparisons:
        low, high = one.interval
        print(
            f"{one.variant}: {1 / one.ratio:.3g} times as fast as {one.baseline} "
            f"({1 / high:.3g} to {1 / low:.3g}), {len(one.blocks)} blocks"
        )
    for one in record.measurements:
        value, low, high = (one.facts[name] for name in ("value", "low", "high"))
        print(f"{one.label}: {value:.4g} ({low:.4g} to {high:.4g})")


if __name__ == "__main__":
    sys.exit(main())
