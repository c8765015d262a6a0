"""Labeled texts: read, checked, and split so that no text is on both sides.

Texts that differ in case and blanks alone count as the same, and so do all texts of a group. An
empty group is none: such a text belongs with no other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivme.errors import UsageError

LEAST_OF_EACH = 2  # texts of each label on each side of a split


@dataclass(frozen=True, kw_only=True)
class LabeledTexts:
    """Texts with a label each. groups: texts of one group are never split apart; None: no groups.

    source: what errors call it, as a file's name.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    source: str = "the data"

    def __post_init__(self) -> None:
        count = len(self.texts)
        if len(self.labels) != count or not count:
            raise UsageError(
                f"{self.source}: {count} texts with {len(self.labels)} labels; expected one for "
                "each"
            )
        if self.groups is not None and len(self.groups) != count:
            raise UsageError(
                f"{self.source}: {count} texts with {len(self.groups)} groups; expected one for "
                "each"
            )
        empty = sum(not text.strip() for text in self.texts)
        if empty:
            raise UsageError(f"{self.source}: {empty} texts are empty; leave them out")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels)))

    def chosen(self, positions: Iterable[int]) -> "LabeledTexts":
        """Return the texts at the positions, in their order."""
        picked = list(positions)
        return LabeledTexts(
            texts=tuple(self.texts[at] for at in picked),
            labels=tuple(self.labels[at] for at in picked),
            groups=None if self.groups is None else tuple(self.groups[at] for at in picked),
            source=self.source,
        )

    def numbers(self, labels: Sequence[str]) -> NDArray[np.intp]:
        """Return the number of each text's label among `labels`."""
        number_of = {label: number for number, label in enumerate(labels)}
        return np.array([number_of[label] for label in self.labels], np.intp)


def read_labeled_texts(
    path: str | Path, *, text: str = "text", label: str = "label", group: str | None = None
) -> LabeledTexts:
    """Return the rows of a csv, tsv or jsonl file; text, label, group: names of columns.

    Rows whose text is empty are left out.

    Raises:
        WorkloadError: no such file, a damaged one, or no such column.
    """
    from ivme.models.workloads import read_workload

    found = read_workload(path, column=text, label_column=label)
    groups = None
    if group is not None:
        groups = read_workload(path, column=text, label_column=group).labels
    return LabeledTexts(
        texts=found.texts, labels=found.labels or (), groups=groups, source=str(path)
    )


def check_labels(train: LabeledTexts, valid: LabeledTexts | None) -> None:
    """Raise UsageError unless there are two labels or more, and the same ones to validate on."""
    labels = train.label_set
    if len(labels) < 2:
        raise UsageError(
            f"{train.source}: every text has the label {labels[0]!r}; expected two labels or more"
        )
    if valid is None:
        return
    unknown = sorted(set(valid.labels) - set(labels))
    if unknown:
        raise UsageError(
            f"{valid.source}: label {unknown[0]!r} is none of those in {train.source}: "
            f"{', '.join(labels)}"
        )
    missing = sorted(set(labels) - set(valid.labels))
    if missing:
        raise UsageError(
            f"{valid.source} has no text of the label {missing[0]!r}; give some, or leave the "
            "validation out to have a part of the training texts held out"
        )


def hold_out(
    data: LabeledTexts, share: float, *, seed: int, most: int | None = None
) -> tuple[LabeledTexts, LabeledTexts]:
    """Return the data in two parts, the second with about `share` of each label's texts.

    most: texts in the second part. Texts of one group, and texts that are the same, stay together.

    Raises:
        UsageError: a label has too few different texts to be in both parts.
    """
    share = share if most is None else min(share, most / len(data))
    held = np.zeros(len(data), bool)
    clusters = _clusters(data)
    np.random.RandomState(seed).shuffle(clusters)
    wanted = {
        label: max(LEAST_OF_EACH, round(share * data.labels.count(label)))
        for label in data.label_set
    }
    for cluster in clusters:
        if any(wanted[data.labels[at]] > 0 for at in cluster):
            held[list(cluster)] = True
            for at in cluster:
                wanted[data.labels[at]] -= 1
    for label in data.label_set:
        is_label = np.array([one == label for one in data.labels])
        if min((is_label & ~held).sum(), (is_label & held).sum()) < LEAST_OF_EACH:
            raise UsageError(
                f"{data.source}: {is_label.sum()} texts of the label {label!r}, which are too few "
                "different ones to hold some out; give more"
            )
    return data.chosen(np.flatnonzero(~held)), data.chosen(np.flatnonzero(held))


def without_texts_of(data: LabeledTexts, other: LabeledTexts) -> LabeledTexts:
    """Return the data without the texts that the other has too."""
    known = {same_text(text) for text in other.texts}
    kept = [at for at, text in enumerate(data.texts) if same_text(text) not in known]
    if not kept:
        raise UsageError(f"every text of {data.source} is in {other.source} too; give other texts")
    return data if len(kept) == len(data) else data.chosen(kept)


def same_text(text: str) -> str:
    """Return what two texts share that count as the same: no case, one blank between words."""
    return " ".join(text.casefold().split())


def own_groups(groups: Sequence[object]) -> list[object]:
    """Return the groups, with one of its own for each text that has none: None, or blank."""
    return [
        ("without a group", at) if group is None or not str(group).strip() else group
        for at, group in enumerate(groups)
    ]


def _clusters(data: LabeledTexts) -> list[tuple[int, ...]]:
    """Return the positions of texts that must stay together, one tuple a cluster."""
    parent = list(range(len(data)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    groups = own_groups(data.groups or ())
    first: dict[tuple[str, object], int] = {}
    for at, text in enumerate(data.texts):
        keys: list[tuple[str, object]] = [("text", same_text(text))]
        if groups:
            keys.append(("group", groups[at]))
        for key in keys:
            parent[root(at)] = root(first.setdefault(key, at))
    members: dict[int, list[int]] = {}
    for at in range(len(data)):
        members.setdefault(root(at), []).append(at)
    return [tuple(some) for some in members.values()]
