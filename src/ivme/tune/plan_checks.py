"""What is wrong with a plan's files, and what its user should know about this machine."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ivme.engines.artefacts import MANIFEST
from ivme.errors import PlanError
from ivme.tune.plan import PLAN_FILE, Plan

SMALL_FILE_BYTES = 2**20  # up to this a file's checksum is always compared


def check_files(folder: Path, *, verify: bool) -> list[str]:
    """Return notes on a plan's files; plan.json alone may differ from what was written.

    verify: compare the checksums of large files too.

    Raises:
        PlanError: a file is missing or damaged.
    """
    notes = []
    for name, written in _manifest_files(folder).items():
        reason = _damage(folder / name, written, verify=verify)
        if reason and name == PLAN_FILE:
            notes.append(f"{PLAN_FILE} was edited after it was tuned: its figures may not hold")
        elif reason:
            raise PlanError(
                f"{folder / name} {reason}; run `ivme tune` again, or restore the folder from a "
                "copy"
            )
    return notes


def notes_on_place(plan: Plan) -> list[str]:
    """Return what differs here from where the plan's figures were measured."""
    from ivme.hardware.inventory import read_inventory

    here = read_inventory()
    there = plan.machine.get("processor")
    notes = []
    if not isinstance(there, Mapping) or (there.get("name"), there.get("usable_cores")) != (
        here.processor.name,
        here.processor.usable_cores,
    ):
        notes.append(
            f"this plan was tuned on {_machine_name(there)}; its figures are not from this "
            f"machine ({here.processor.name}, {here.processor.usable_cores} cores): run `ivme "
            "tune` here for figures that are"
        )
    library = plan.variant.engine if plan.variant.engine in plan.versions else "torch"
    versions = plan.versions.get(library), here.versions.get(library)
    if None not in versions and versions[0] != versions[1]:
        notes.append(f"it was tuned with {library} {versions[0]}; here is {versions[1]}")
    cores = plan.variant.threads * plan.variant.batching.streams
    if plan.device == "cpu" and cores > here.processor.usable_cores:
        notes.append(
            f"it runs on {cores} threads, and {here.processor.usable_cores} cores are here"
        )
    return notes


def _manifest_files(folder: Path) -> dict[str, Mapping[str, Any]]:
    try:
        files: dict[str, Mapping[str, Any]] = json.loads(
            (folder / MANIFEST).read_text(encoding="utf-8")
        )["files"]
        for name, written in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{name!r} lies outside the folder")
            _ = written["size_bytes"], written["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(
            f"{folder / MANIFEST} is missing or damaged ({error}); run `ivme tune` again, or "
            "restore the folder from a copy"
        ) from error
    return files


def _damage(path: Path, written: Mapping[str, Any], *, verify: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != written["size_bytes"]:
        return f"has {path.stat().st_size} bytes, not {written['size_bytes']}"
    if verify or written["size_bytes"] <= SMALL_FILE_BYTES:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != written["sha256"]:
                return "has another checksum than when it was written"
    return None


def _machine_name(processor: object) -> str:
    if not isinstance(processor, Mapping):
        return "another machine"
    return f"{processor.get('name')}, {processor.get('usable_cores')} cores"
