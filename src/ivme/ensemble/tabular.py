"""The tree and linear members together: one text in, the probabilities of each out.

Needs NumPy and the native kernel alone: no scikit-learn, no Java, no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ivme.ensemble.features import TfidfFeatures, features_from_json
from ivme.ensemble.folder import read_file, read_manifest, write_folder
from ivme.ensemble.member import Member
from ivme.ensemble.member_files import SUFFIX, member_from_bytes, member_to_bytes
from ivme.ensemble.rows import FeatureRows, rows_from_dense
from ivme.errors import UsageError

FORMAT = "ivme.tabular"
FEATURES_FILE = "features.json"

Probabilities = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularMembers:
    """Members that read the same features, and the labels that they choose from.

    labels: as in the data, in the order of the probabilities. members: by name, as "DRF".
    """

    features: TfidfFeatures
    labels: tuple[str, ...]
    members: Mapping[str, Member]

    def __post_init__(self) -> None:
        for name, member in self.members.items():
            if member.features_hash != self.features.content_hash:
                raise UsageError(
                    f"member {name} was trained on other features (hash "
                    f"{member.features_hash[:12]!r}, not {self.features.content_hash[:12]!r}); "
                    "give the features that it was trained with, or train it again"
                )
            if member.model.feature_count != self.features.count:
                raise UsageError(
                    f"member {name} reads {member.model.feature_count} features of "
                    f"{self.features.count}; train it again"
                )
            if member.label_count != len(self.labels):
                raise UsageError(
                    f"member {name} knows {member.label_count} labels, the folder "
                    f"{len(self.labels)} ({', '.join(self.labels)}); train it again"
                )

    @staticmethod
    def load(folder: str | Path) -> "TabularMembers":
        """Return the members that a folder holds, every file of it checked.

        Raises:
            UsageError: a file that is missing, changed, foreign, damaged or a pickle; it is named.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, FORMAT)
        labels, names = _texts(folder, manifest, "labels"), _texts(folder, manifest, "members")
        features = read_file(folder, FEATURES_FILE, manifest)
        members = {
            name: member_from_bytes(
                read_file(folder, f"{name}{SUFFIX}", manifest), str(folder / f"{name}{SUFFIX}")
            )
            for name in names
        }
        return TabularMembers(
            features=features_from_json(
                features.decode("utf-8", errors="replace"), str(folder / FEATURES_FILE)
            ),
            labels=labels,
            members=members,
        )

    def save(self, folder: str | Path) -> Path:
        """Write features, members and a manifest with their hashes; return the folder."""
        return write_folder(
            Path(folder),
            FORMAT,
            {"labels": list(self.labels), "members": list(self.members)},
            self._files,
        )

    @cached_property
    def _files(self) -> dict[str, bytes]:
        members = {f"{name}{SUFFIX}": member_to_bytes(one) for name, one in self.members.items()}
        return {FEATURES_FILE: self.features.to_json().encode(), **members}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of labels, features and members: it changes whenever an answer may."""
        parts = [repr(self.labels).encode(), *self._files.values()]
        return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()

    @property
    def thresholds(self) -> dict[str, float | None]:
        """The threshold of each member on the second label's probability; None: the likeliest."""
        return {name: member.threshold for name, member in self.members.items()}

    def score(self, text: str) -> Probabilities:
        """Return the probabilities of the labels, [labels], by each member.

        Raises:
            UsageError: not a text.
        """
        rows = self.features.transform(checked_text(text))
        return {name: scores[0] for name, scores in self.score_features(rows).items()}

    def score_batch(self, texts: Sequence[str], threads: int = 1) -> Probabilities:
        """Return the probabilities of each text, [texts, labels], by each member.

        Raises:
            UsageError: one text in the place of several, or something that is no text.
        """
        if isinstance(texts, str):
            raise UsageError("one text where several were expected; give a list, or call score()")
        rows = self.features.transform_batch([checked_text(text) for text in texts])
        return self.score_features(rows, threads)

    def score_features(self, rows: FeatureRows | ArrayLike, threads: int = 1) -> Probabilities:
        """Return the probabilities of rows of features, [rows, labels], by each member.

        rows: what `features` makes, or dense float64 [rows, features], NaN for what is missing.
        """
        sparse = rows if isinstance(rows, FeatureRows) else rows_from_dense(rows)
        return {
            name: member.probabilities(sparse, threads) for name, member in self.members.items()
        }

    def decide(self, probabilities: Probabilities) -> dict[str, int]:
        """Return the number of the label that each member chooses for one text's probabilities."""
        return {
            name: int(self.members[name].decide(np.atleast_2d(one))[0])
            for name, one in probabilities.items()
        }


def checked_text(text: object) -> str:
    """Return the text; raises UsageError for anything else."""
    if not isinstance(text, str):
        raise UsageError(f"a {type(text).__name__} where a text was expected; decode bytes first")
    return text


def _texts(folder: Path, manifest: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = manifest.get(key)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{folder}: its manifest has no list of {key}; train again")
    return tuple(found)
