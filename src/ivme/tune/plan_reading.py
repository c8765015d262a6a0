"""Reading plan.json, which people may edit: every value is checked before it is believed."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ivme.engines.batch_costs import cost_from
from ivme.engines.batching import Batching
from ivme.engines.registry import ENGINES, get_engine
from ivme.errors import PlanError, UsageError
from ivme.hardware.threads import MOST_THREADS
from ivme.tune.plan import FORMAT, FORMAT_VERSION, Plan
from ivme.tune.variants import Variant

KINDS_OF_VALUE: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "reference": ("a text", lambda value: isinstance(value, str)),
    "content_hash": ("a text", lambda value: isinstance(value, str)),
    "kind": ("a text", lambda value: isinstance(value, str)),
    "dtype": ("a text", lambda value: isinstance(value, str)),
    "device": ("a text", lambda value: isinstance(value, str)),
    "attention": ("a text", lambda value: isinstance(value, str)),
    "variant": ("an object", lambda value: isinstance(value, dict)),
    "max_length": ("a number of 1 or more, or null", lambda value: value is None or _count(value)),
    "new_tokens": ("a number of 1 or more", lambda value: _count(value)),
    "tokenizer": ("file or transformers", lambda value: value in ("file", "transformers")),
    "evidence": ("an object", lambda value: isinstance(value, dict)),
    "machine": ("an object", lambda value: isinstance(value, dict)),
    "versions": ("an object", lambda value: isinstance(value, dict)),
    "notes": ("a list", lambda value: isinstance(value, list)),
    "created_at": ("a text", lambda value: isinstance(value, str)),
    "format_version": ("a number", lambda value: _count(value)),
}


def plan_from_file(path: Path) -> Plan:
    """Return the plan in a file that write_plan wrote, and perhaps a person edited.

    Raises:
        PlanError: no such file, no plan, of a newer format, or a value that is not allowed.
    """
    content = _read(path)
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise PlanError(
            f"{path} has format {version}; this ivme reads up to {FORMAT_VERSION}: upgrade ivme"
        )
    for name, (expected, is_allowed) in KINDS_OF_VALUE.items():
        if name not in content:
            raise PlanError(f"{path} has no {name!r}; {REMEDY}")
        if not is_allowed(content[name]):
            raise PlanError(f"{path}: {name}={content[name]!r}; expected {expected}")
    _check_kind(path, content)
    known = {name: content[name] for name in KINDS_OF_VALUE}
    known["variant"] = _variant_from(path, content["variant"])
    known["notes"] = tuple(map(str, content["notes"]))
    return Plan(**known)


REMEDY = "run `ivme tune` again, or restore the folder from a copy"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PlanError(
            f"{path.parent} is no plan: it has no {path.name}; give the folder that "
            "`ivme tune MODEL -o FOLDER` wrote"
        ) from error
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PlanError(f"{path} is not valid JSON ({error}); {REMEDY}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PlanError(f"{path} is JSON but no plan of ivme; {REMEDY}")
    return content


def _check_kind(path: Path, content: Mapping[str, Any]) -> None:
    from ivme.models.kinds import KINDS

    if content["kind"] not in KINDS:
        raise PlanError(f"{path}: kind={content['kind']!r}; expected one of {', '.join(KINDS)}")


def _variant_from(path: Path, content: Mapping[str, Any]) -> Variant:
    for name in ("engine", "precision", "threads", "batching"):
        if name not in content:
            raise PlanError(f"{path}: the variant has no {name!r}; {REMEDY}")
    if not isinstance(content["engine"], str) or content["engine"] not in ENGINES:
        raise PlanError(
            f"{path}: engine={content['engine']!r}; expected one of {', '.join(sorted(ENGINES))}"
        )
    _check_precision(path, content["engine"], content["precision"])
    if not _count(content["threads"]) or content["threads"] > MOST_THREADS:
        raise PlanError(
            f"{path}: threads={content['threads']!r}; expected a number of 1 or more, at most "
            f"{MOST_THREADS:,}"
        )
    return Variant(
        engine=content["engine"],
        precision=content["precision"],
        threads=content["threads"],
        batching=_batching_from(path, content["batching"]),
    )


def _check_precision(path: Path, engine: str, precision: Any) -> None:
    precisions = get_engine(engine).precisions
    if precision not in precisions:
        raise PlanError(f"{path}: precision={precision!r}; {engine} has {', '.join(precisions)}")


def _batching_from(path: Path, content: Any) -> Batching:
    names = {field.name for field in dataclasses.fields(Batching)}
    if not isinstance(content, dict) or not set(content) <= names:
        raise PlanError(f"{path}: batching={content!r}; expected an object of {sorted(names)}")
    try:
        buckets, cost = tuple(content.get("buckets", ())), cost_from(content.get("cost"))
        return Batching(**{**content, "buckets": buckets, "cost": cost})
    except (UsageError, TypeError) as error:
        raise PlanError(f"{path}: batching: {error}") from error


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
