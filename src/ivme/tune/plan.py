"""Plans: a tuned model as a folder that runs by itself, with the evidence for it.

plan.json       what was chosen, on what evidence, on which machine, with which versions
artefact/       the exported model, or the model's own files for engines on PyTorch
interface.json  what goes in and comes out; tokenizer/ beside it
manifest.json   a checksum of every file
"""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.artefacts import MANIFEST, cached_artefact, write_manifest
from ivme.engines.protocol import ArtefactEngine, EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import UsageError
from ivme.models.interface import TOKENIZER_FOLDER, ModelInterface
from ivme.models.tokenizer_file import choose_tokenizer
from ivme.tune.variants import Variant
from ivme.whole_folder import whole_folder

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.tune.predictor import Predictor

PLAN_FILE = "plan.json"
ARTEFACT_FOLDER = "artefact"
FORMAT = "ivme.plan"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one model is to run, and why: what plan.json holds."""

    reference: str  # the model as it was named when it was tuned
    content_hash: str  # SHA-256 of the model's files
    kind: str  # one of ivme.models.kinds.KINDS
    dtype: str  # of the weights as loaded; engines with an artefact have their own precision
    device: str
    attention: str
    variant: Variant
    max_length: int | None = None  # tokens; longer texts are cut; None: the model's own limit
    new_tokens: int = 16  # generated tokens a text; generating models only
    tokenizer: str = "transformers"  # who reads texts: see ModelInterface.load
    evidence: Mapping[str, Any] = field(default_factory=dict)  # figures, quality, the record
    machine: Mapping[str, Any] = field(default_factory=dict)  # ivme.hardware.Inventory as a dict
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    created_at: str = ""  # ISO 8601, UTC
    format_version: int = FORMAT_VERSION

    @property
    def options(self) -> EngineOptions:
        """The engine's options: what the variant and the limits ask for."""
        shared = EngineOptions(max_length=self.max_length, new_tokens=self.new_tokens)
        return self.variant.options(shared)


def write_plan(
    folder: str | os.PathLike[str],
    *,
    model: "LoadedModel",
    variant: Variant,
    options: EngineOptions,
    evidence: Mapping[str, Any],
    machine: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """Write a plan's folder, whole or not at all, and return the plan.

    model: loaded as the variant runs it (dtype, device, attention). options: what all variants
    shared when they were measured; its calibration texts are used, and not kept. evidence: what
    JSON can hold. machine: the inventory as a dict; None: of this machine. An older plan in the
    folder is replaced.

    Raises:
        UsageError: the folder holds something else, or cannot be written.
        RefusedError: the engine cannot run this model.
    """
    target = Path(folder)
    check_target(target)
    plan = _describe(model, variant, options, evidence, machine, notes)
    with whole_folder(target) as draft:
        _put_artefact(draft / ARTEFACT_FOLDER, model, variant, variant.options(options))
        ModelInterface.of(model).save(draft)
        plan = replace(plan, tokenizer=choose_tokenizer(draft / TOKENIZER_FOLDER, model.tokenizer))
        (draft / PLAN_FILE).write_text(plan_to_json(plan), encoding="utf-8")
        write_manifest(draft, {"format": FORMAT, "format_version": FORMAT_VERSION})
    return plan


def check_target(folder: Path) -> None:
    """Raise UsageError, before any work, if the folder holds something other than a plan."""
    if folder.is_file():
        raise UsageError(f"cannot write the plan {folder}: it is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not is_plan(folder):
        raise UsageError(
            f"cannot write the plan {folder}: the folder holds something else; name an empty "
            "folder, or one that is not there yet"
        )


def is_plan(folder: Path) -> bool:
    """Return whether the folder holds a plan, damaged or not."""
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def plan_to_json(plan: Plan) -> str:
    """Return the plan as JSON text that people can read and edit; what is not finite is null."""
    content = _finite(asdict(plan))
    return json.dumps({"format": FORMAT, **content}, indent=1, allow_nan=False) + "\n"


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """Return what a plan's folder says, checked, without loading the model.

    Raises:
        PlanError: no plan, of a newer format, or a value that is not allowed.
    """
    from ivme.tune.plan_reading import plan_from_file

    return plan_from_file(Path(folder) / PLAN_FILE)


def load_plan(
    folder: str | os.PathLike[str],
    *,
    verify: bool = True,
    threads: int | None = None,
    max_length: int | None = None,
) -> "Predictor":
    """Return the plan's model, ready to run: call it with a text or with a list of texts.

    verify: compare the checksum of every file, which takes about a second a gigabyte; without it
    sizes are compared, and checksums of small files. threads: of all its streams together, in
    place of the plan's. max_length: tokens to cut texts to, where the plan allows more.

    Raises:
        PlanError: no plan, damaged, a value that is not allowed, or an engine not installed.
        DeviceError: its device is not on this machine.
    """
    from ivme.tune.predictor import open_plan

    return open_plan(Path(folder), verify=verify, threads=threads, max_length=max_length)


def _describe(
    model: "LoadedModel",
    variant: Variant,
    options: EngineOptions,
    evidence: Mapping[str, Any],
    machine: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> Plan:
    from ivme.hardware.inventory import read_inventory
    from ivme.measure.records import library_versions

    return Plan(
        reference=model.reference,
        content_hash=model.content_hash,
        kind=model.kind,
        dtype=model.dtype,
        device=model.device,
        attention=model.attention,
        variant=variant,
        max_length=options.max_length,
        new_tokens=options.new_tokens,
        evidence=evidence,
        machine=asdict(read_inventory()) if machine is None else machine,
        versions=library_versions(),
        notes=tuple(notes),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _put_artefact(
    folder: Path, model: "LoadedModel", variant: Variant, options: EngineOptions
) -> None:
    """Copy what the engine runs: its artefact, or the model's files for engines on PyTorch."""
    engine = get_engine(variant.engine)
    if isinstance(engine, ArtefactEngine):
        source = cached_artefact(engine, model, options)
        shutil.copytree(
            source,
            folder,
            ignore=shutil.ignore_patterns(MANIFEST),
            copy_function=shutil.copyfile,
        )
        folder.chmod(0o755)  # the cache is private, a plan is not
        return
    from ivme.models.loading import CONTENT_FILES

    for pattern in (*CONTENT_FILES, "*/config.json"):  # the last: a sentence model's pooling
        for path in model.folder.glob(pattern):
            copy = folder / path.relative_to(model.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
