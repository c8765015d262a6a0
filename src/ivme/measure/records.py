"""Records: what a measuring command writes, as versioned JSON with every raw sample.

A record is data alone: reports, comparisons with older runs and the claims ledger read records
and nothing else. Field names carry their units. Unknown fields of the same schema are left out,
a newer schema is refused. Numbers that are not finite are written as null: JSON has no others.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import ivme
from ivme.errors import RecordError
from ivme.whole_file import write_whole

SCHEMA = "ivme.record"
SCHEMA_VERSION = 1

# What a figure depends on; those that are installed are named in every record.
LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scikit-learn",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "torchao",
    "triton",
    "bitsandbytes",
    "h2o",
    "ray",
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One configuration, run: its settings, raw samples and what memory it took.

    A failed configuration keeps its place: `failure` says why, and the samples are those taken
    before it failed.
    """

    label: str  # short, unique within the record
    # model, engine, kind, dtype, device, threads, batch_size, tokens, padding
    configuration: Mapping[str, Any]
    failure: str | None = None
    # "load", "first_call", "warmup", "latency", "encode", "forward", "decode", "process_time"
    samples_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    items_per_call: float | None = None  # mean, where calls differ
    tokens_per_call: float | None = None  # real tokens, padding left out
    padded_tokens_per_call: float | None = None
    floating_point_operations_per_call: float | None = None
    peak_memory_bytes: int | None = None  # resident growth since before the model was loaded
    cuda_peak_memory_bytes: int | None = None
    processor_utilization: float | None = None  # 0..1 of the usable cores, in steady state
    gpu_utilization: float | None = None  # 0..1
    facts: Mapping[str, Any] = field(default_factory=dict)  # parameters, weight_bytes, good_for...


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of one variant with a baseline.

    ratio > 1: the variant takes longer than the baseline. Raw seconds are kept per block.
    """

    baseline: str
    variant: str
    ratio: float  # median over blocks of variant time / baseline time
    interval: tuple[float, float]  # hierarchical bootstrap, 95% over all looks together
    verdict: str  # "faster", "slower", "same", "undecided": the variant against the baseline
    equivalence_margin: float  # 0.02: ratios in [1/1.02, 1.02] count as same
    blocks: tuple[Mapping[str, Any], ...]  # {"order": [...], "seconds": {name: [..]}}
    control_interval: tuple[float, float] | None = None  # of baseline against itself
    control_is_clean: bool | None = None
    # name -> {"mild": 2, "severe": 1}
    outliers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    threads: int | None = None
    stopped_by: str = "budget"  # "width", "budget", "blocks", "interrupted"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that one run of a measuring command found."""

    kind: str  # "bench", "compare", "doctor", "tune"
    command: tuple[str, ...]
    created_at: str  # ISO 8601, UTC
    # ivme.hardware.Inventory as a dict; "ceilings" beside it where measured
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]  # the resolved configuration of the command
    measurements: tuple[Measurement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()  # warnings that a reader of the figures must know
    is_complete: bool = True  # False after Ctrl-C: what was measured until then
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION


def new_record(
    kind: str,
    command: Sequence[str],
    machine: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    measurements: Sequence[Measurement] = (),
    comparisons: Sequence[Comparison] = (),
    notes: Sequence[str] = (),
    is_complete: bool = True,
) -> Record:
    """Return a record of this moment with the versions of the libraries installed here."""
    return Record(
        kind=kind,
        command=tuple(command),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        versions=library_versions(),
        settings=settings,
        measurements=tuple(measurements),
        comparisons=tuple(comparisons),
        notes=tuple(notes),
        is_complete=is_complete,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of Python, ivme and the libraries installed; imports none of them."""
    versions = {"python": platform.python_version(), "ivme": ivme.__version__}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def record_to_json(record: Record) -> str:
    """Return the record as JSON text with its checksum; NaN and infinity become null.

    Raises:
        TypeError: a field holds something that JSON cannot say.
    """
    content = _plain(record)
    content["checksum"] = _checksum(content)
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def save_record(record: Record, path: str | os.PathLike[str]) -> None:
    """Write the record as JSON; the file is either the old one or the whole new one.

    Missing folders are made.

    Raises:
        RecordError: the file cannot be written there.
    """
    target = Path(path)
    text = record_to_json(record)
    try:
        write_whole(target, text)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(
            f"cannot write {target}: {reason}; name a file that you may write"
        ) from error


def load_record(path: str | os.PathLike[str]) -> Record:
    """Return the record in a file that `save_record` wrote.

    Raises:
        RecordError: no such file, not JSON, no record of ivme, damaged, or of a newer schema.
    """
    content = _read_json(Path(path))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise RecordError(
            f"{path} is JSON but no record of ivme; give a file that `ivme bench --output` or "
            "another measuring command wrote"
        )
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(
            f"{path} was written by schema {version}; this ivme reads up to {SCHEMA_VERSION}: "
            "upgrade ivme"
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise RecordError(
            f"{path} is damaged: its content does not match its checksum; restore the file from a "
            "copy, or measure again"
        )
    return _record_from(content, path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"cannot read {path}: {reason}; give the path of a record") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{path} is not JSON; give a file that `ivme bench --output` or another measuring "
            "command wrote"
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _record_from(content: dict[str, Any], path: str | os.PathLike[str]) -> Record:
    try:
        fields = _known(Record, content)
        fields["command"] = tuple(fields["command"])
        fields["notes"] = tuple(fields.get("notes", ()))
        fields["measurements"] = tuple(map(_measurement_from, fields.get("measurements", ())))
        fields["comparisons"] = tuple(map(_comparison_from, fields.get("comparisons", ())))
        return Record(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise RecordError(
            f"{path} lacks what a record of schema {SCHEMA_VERSION} must have ({error}); "
            "measure again"
        ) from error


def _measurement_from(content: dict[str, Any]) -> Measurement:
    fields = _known(Measurement, content)
    fields["samples_s"] = {
        name: tuple(samples) for name, samples in fields.get("samples_s", {}).items()
    }
    return Measurement(**fields)


def _comparison_from(content: dict[str, Any]) -> Comparison:
    fields = _known(Comparison, content)
    for name in ("interval", "control_interval", "blocks", "notes"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    return Comparison(**fields)


def _known(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in content.items() if name in names}


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return the value in JSON's own types."""
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(one) for one in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and torch
        return _plain(value.tolist())
    raise TypeError(f"a record cannot hold {value!r} of type {type(value).__name__}")
