"""ensemble.json: what an ensemble is, apart from its members; written and read back checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ivme.ensemble.stacking import Stacking, stacking_from_json
from ivme.errors import UsageError

KINDS = ("plan", "tabular")
_REMEDY = "copy the folder again, or train again"


@dataclass(frozen=True, kw_only=True)
class GroupEntry:
    """A group of members as ensemble.json has it.

    kind: "plan", a transformer's tuned plan, or "tabular"; folder: inside the ensemble's.
    threshold: of a transformer with two labels, see TransformerMember.
    """

    name: str
    kind: str
    folder: str
    members: tuple[str, ...]
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not self.members:
            raise UsageError(f"group {self.name!r} of kind {self.kind!r}; expected one of {KINDS}")
        if Path(self.folder).name != self.folder or self.folder in ("", ".", ".."):
            raise UsageError(f"group {self.name!r} lies in {self.folder!r}; expected a subfolder")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"group {self.name!r}: threshold={self.threshold!r}; expected 0 to 1")


def ensemble_to_json(
    *,
    labels: Sequence[str],
    label_names: Mapping[str, str],
    groups: Sequence[GroupEntry],
    stacking: Stacking | None,
    least_words: int,
    training: Mapping[str, Any],
) -> str:
    """Return the content of ensemble.json."""
    content = {
        "labels": list(labels),
        "label_names": {label: label_names.get(label, label) for label in labels},
        "groups": [asdict(group) for group in groups],
        "stacking": None if stacking is None else stacking.to_json(),
        "least_words": least_words,
        "training": dict(training),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_ensemble_json(path: Path) -> dict[str, Any]:
    """Return labels, label_names, groups, stacking, least_words and training, checked.

    Raises:
        UsageError: a part is missing, or does not fit the others.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = _texts(content["labels"])
        groups = tuple(
            GroupEntry(**{**one, "members": _texts(one["members"])}) for one in content["groups"]
        )
        names = {label: str(content["label_names"][label]) for label in labels}
        stacked = content["stacking"]
        stacking = None if stacked is None else stacking_from_json(stacked, str(path))
        least_words = int(content["least_words"])
        training = dict(content["training"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} does not describe an ensemble ({error}); {_REMEDY}") from error
    _check_fit(path, labels, groups, stacking)
    return {
        "labels": labels,
        "label_names": names,
        "groups": groups,
        "stacking": stacking,
        "least_words": least_words,
        "training": training,
    }


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{found!r} is no list of texts")
    return tuple(found)


def _check_fit(
    path: Path, labels: Sequence[str], groups: Sequence[GroupEntry], stacking: Stacking | None
) -> None:
    members = [name for group in groups for name in group.members]
    if len(labels) < 2 or len(set(labels)) != len(labels) or not members:
        raise UsageError(f"{path} names {len(labels)} labels, {len(members)} members; {_REMEDY}")
    if len(set(members)) != len(members):
        raise UsageError(f"{path} names a member twice; {_REMEDY}")
    if stacking is not None and (
        set(stacking.members) != set(members) or stacking.labels != tuple(labels)
    ):
        raise UsageError(f"{path}: its stacking is of other members or labels; {_REMEDY}")
