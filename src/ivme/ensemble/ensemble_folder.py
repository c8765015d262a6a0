"""The folder of an ensemble: its members, how they are combined, and the hashes that bind them.

manifest.json   size and SHA-256 of every file, subfolders included
ensemble.json   labels, groups of members, thresholds, stacking, how it was trained
tabular/        the tree and linear members with their features (TabularMembers)
BERT/, ...      a tuned plan for each transformer
weights/BERT/   its weights as trained, for devices that the plan is not for
evaluation.json, MODEL_CARD.md  what it reaches, and what it cannot do
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivme.ensemble.ensemble_json import GroupEntry, read_ensemble_json
from ivme.ensemble.groups import MemberGroup, TabularGroup
from ivme.ensemble.manifest import Files, check_file, read_manifest, write_manifest
from ivme.ensemble.stacking import Stacking
from ivme.ensemble.transformer_opening import open_transformer
from ivme.errors import UsageError
from ivme.hardware.threads import check_threads

ENSEMBLE_FILE = "ensemble.json"
EVALUATION_FILE = "evaluation.json"
CARD_FILE = "MODEL_CARD.md"
REPORTS = (EVALUATION_FILE, CARD_FILE)  # bound by the manifest; they decide no answer
WEIGHTS_FOLDER = "weights"
TABULAR = "tabular"


def say_nothing(line: str) -> None:
    """Take a progress line and drop it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EnsembleFolder:
    """What a folder says of an ensemble; members are opened group by group.

    labels: as in the data, in the order of all probabilities; label_names: label -> what people
    read. member_names: in the order of answers. least_words: texts with fewer are too short to
    judge. content_hash: changes whenever an answer may. training: how it was trained.
    """

    path: Path
    labels: tuple[str, ...]
    label_names: Mapping[str, str]
    groups: tuple[GroupEntry, ...]
    content_hash: str
    stacking: Stacking | None
    least_words: int
    evaluation: Mapping[str, Any] | None
    training: Mapping[str, Any]
    files: Files = field(repr=False)

    @staticmethod
    def read(path: str | Path, *, verify: bool = True) -> "EnsembleFolder":
        """Return what the folder says, without opening a member.

        Names and sizes of all files are compared with the manifest, and the SHA-256 of each.
        verify=False leaves the members' files to `open_group`, which always compares them: safe
        for a fast start, where a member that is damaged is to be found when it is opened.

        Raises:
            UsageError: no such folder, a foreign manifest, a pickle anywhere, a file that is
                missing or changed; it is named.
        """
        folder = Path(path)
        files, content_hash = read_manifest(folder, reports=REPORTS)
        own = check_file(folder, ENSEMBLE_FILE, files)
        said = read_ensemble_json(own)
        found = EnsembleFolder(
            path=folder,
            content_hash=content_hash,
            evaluation=_read_evaluation(folder, files),
            files=files,
            **said,
        )
        if verify:
            found.check()
        return found

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names that `open_group` takes, in order."""
        return tuple(group.name for group in self.groups)

    @property
    def member_names(self) -> tuple[str, ...]:
        """The members of all groups, in order."""
        return tuple(name for group in self.groups for name in group.members)

    def group_of(self, name: str) -> GroupEntry:
        """Return the group of that name; raises UsageError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise UsageError(
            f"group {name!r}; the ensemble {self.path} has {', '.join(self.group_names)}"
        )

    def check(self) -> None:
        """Compare the SHA-256 of every file; raises UsageError that names the one that differs."""
        for name in self.files:
            check_file(self.path, name, self.files)

    def open_group(
        self,
        group_name: str,
        *,
        threads: int | None = None,
        device: str = "auto",
        max_length: int | None = None,
        progress: Callable[[str], None] = say_nothing,
    ) -> MemberGroup:
        """Return the members of a group, ready to score; its files are compared first.

        threads: at most; None: one for the tabular members, and as its plan says for a
        transformer. device: "auto" takes a GPU where there is one and the weights are here, else
        what the plan is for. max_length: tokens to cut texts to, where the plan allows more.

        Raises:
            UsageError: no such group, a file that is missing or changed, labels that differ.
            DeviceError: the device is not on this machine.
        """
        group = self.group_of(group_name)
        if threads is not None:
            check_threads(threads)
        progress(f"Loading {', '.join(group.members)}...")
        self._check_below(f"{group.folder}/")
        if group.kind == TABULAR:
            return self._open_tabular(group, threads or 1)
        weights = self.path / WEIGHTS_FOLDER / group.name
        return open_transformer(
            group,
            self.path / group.folder,
            weights if weights.is_dir() else None,
            self.labels,
            check_weights=lambda: self._check_below(f"{WEIGHTS_FOLDER}/{group.name}/"),
            threads=threads,
            device=device,
            max_length=max_length,
        )

    def write_reports(
        self, *, evaluation: Mapping[str, Any] | None = None, card: str | None = None
    ) -> "EnsembleFolder":
        """Write evaluation.json or MODEL_CARD.md, bind them, and return the folder as it is now.

        The content hash stays: reports decide no answer. Files that others put there stay unbound.
        """
        self.check_members_unchanged()
        if evaluation is not None:
            content = json.dumps(evaluation, indent=1, allow_nan=False) + "\n"
            (self.path / EVALUATION_FILE).write_text(content, encoding="utf-8")
        if card is not None:
            (self.path / CARD_FILE).write_text(card, encoding="utf-8")
        write_manifest(self.path, reports=REPORTS, names={*self.files, *REPORTS})
        return EnsembleFolder.read(self.path, verify=False)

    def check_members_unchanged(self) -> None:
        """Raise UsageError if a file that decides answers is not as the manifest says."""
        for name in self.files:
            if name not in REPORTS:
                check_file(self.path, name, self.files)

    def _open_tabular(self, group: GroupEntry, threads: int) -> TabularGroup:
        opened = TabularGroup.load(self.path / group.folder, threads=threads)
        if opened.labels != self.labels or opened.names != group.members:
            raise UsageError(
                f"{self.path / group.folder} has members {', '.join(opened.names)} of labels "
                f"{', '.join(opened.labels)}; the ensemble expects {', '.join(group.members)} of "
                f"{', '.join(self.labels)}: train again"
            )
        return opened

    def _check_below(self, prefix: str) -> None:
        for name in self.files:
            if name.startswith(prefix):
                check_file(self.path, name, self.files)


def _read_evaluation(folder: Path, files: Files) -> Mapping[str, Any] | None:
    if EVALUATION_FILE not in files:
        return None
    path = check_file(folder, EVALUATION_FILE, files)
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else None
