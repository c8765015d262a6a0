"""Records: what a measuring command writes, as versioned JSON with every raw sample.

A record is data alone: reports, comparisons with older runs and the claims ledger read records
and nothing else. Field names carry their units. Unknown fields of the same schema are kept out,
a newer schema is refused.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivme.errors import RecordError

SCHEMA = "ivme.record"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One configuration, run: its settings, raw samples and what memory it took.

    A failed configuration keeps its place: `failure` says why, and the samples are those taken
    before it failed.
    """

    label: str  # short, unique within the record
    configuration: Mapping[str, Any]  # model, engine, kind, dtype, device, threads, batch_size, tokens, padding
    failure: str | None = None
    samples_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # "load", "first_call", "latency", "encode", "forward", "decode", "process_time"
    items_per_call: int | None = None
    tokens_per_call: int | None = None  # real tokens, padding left out
    padded_tokens_per_call: int | None = None
    floating_point_operations_per_call: float | None = None
    peak_memory_bytes: int | None = None  # resident growth since before the model was loaded
    cuda_peak_memory_bytes: int | None = None
    gpu_utilisation: float | None = None  # 0..1
    facts: Mapping[str, Any] = field(default_factory=dict)  # parameters, weight_bytes, architecture, good_for...


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of one variant with a baseline.

    ratio > 1: the variant takes longer than the baseline. Raw seconds are kept per block.
    """

    baseline: str
    variant: str
    ratio: float  # median over blocks of variant time / baseline time
    interval: tuple[float, float]  # 95% of a hierarchical bootstrap
    verdict: str  # "faster", "slower", "same", "undecided": the variant against the baseline
    equivalence_margin: float  # 0.02: ratios in [1/1.02, 1.02] count as same
    blocks: tuple[Mapping[str, Any], ...]  # {"order": [...], "seconds": {name: [..]}}
    control_interval: tuple[float, float] | None = None  # of baseline against itself
    control_is_clean: bool | None = None
    outliers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # name -> {"mild": 2, "severe": 1}
    threads: int | None = None
    stopped_by: str = "budget"  # "width", "budget", "blocks", "interrupted"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that one run of a measuring command found."""

    kind: str  # "bench", "compare", "doctor"
    command: tuple[str, ...]
    created_at: str  # ISO 8601, UTC
    machine: Mapping[str, Any]  # ivme.hardware.Inventory as a dict; "ceilings" beside it where measured
    versions: Mapping[str, str]
    settings: Mapping[str, Any]  # the resolved configuration of the command
    measurements: tuple[Measurement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()  # warnings that a reader of the figures must know
    is_complete: bool = True  # False after Ctrl-C: what was measured until then
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION
