"""Reads MOJO files, which H2O wrote, as members: scoring them needs neither H2O nor Java.

A MOJO is a zip of `model.ini`, the labels, and for forests one binary file a tree. Nothing is
unpacked to disk; sizes, counts and every position inside a tree are checked before use.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from ivme.ensemble.features import TfidfFeatures
from ivme.ensemble.linear import LinearModel
from ivme.ensemble.member import Member
from ivme.ensemble.mojo_tree import read_tree
from ivme.ensemble.trees import Forest, build_forest
from ivme.errors import UsageError

MAX_ENTRIES = 200_000
MAX_BYTES = 2**30  # of all entries together, unpacked
OLDEST_TREES = 1.2  # trees were written otherwise before


@dataclass(frozen=True, kw_only=True)
class Mojo:
    """What a MOJO holds: its labels, the columns that it reads, and the model on them."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    member: Member

    def bound_to(self, features: TfidfFeatures) -> Member:
        """Return the member on these features, after comparing every column with its name.

        A column is called as the feature is ("word:the end"), as its n-gram ("the end"), or as H2O
        calls columns that have no names ("C1" the first).

        Raises:
            UsageError: the columns are others, or in another order.
        """
        plain = tuple(ngram for block in features.blocks for ngram in block.ngrams)
        counted = tuple(f"C{number}" for number in range(1, features.count + 1))
        if self.columns not in (features.names, plain, counted):
            raise UsageError(
                f"the MOJO reads {len(self.columns)} columns ({self.columns[0]!r} first), the "
                f"features are {features.count} ({features.names[0]!r} first); give the features "
                "that it was trained with"
            )
        # Columns are the features, or the n-grams, which stand before style and scores.
        columns = np.arange(len(self.columns), dtype=np.int32)
        member = self.member.reading(columns, features.count)
        return replace(member, features_hash=features.content_hash)


def read_mojo(path: str | Path) -> Mojo:
    """Return the DRF, GBM or GLM classifier in a MOJO file.

    Raises:
        UsageError: no MOJO, a damaged or oversized one, another kind of model, or columns that
            hold categories; the message names the file.
    """
    path = Path(path)
    try:
        with ZipFile(path) as archive:
            return _Reader(archive).read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise UsageError(f"{path} is no MOJO: it is no sound zip file ({error})") from error
    except (UsageError, KeyError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{path} is refused: {reason}") from error


class _Reader:
    def __init__(self, archive: ZipFile) -> None:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if len(entries) > MAX_ENTRIES or size > MAX_BYTES:
            raise UsageError(
                f"it unpacks to {size} bytes in {len(entries)} files; at most {MAX_BYTES} bytes in "
                f"{MAX_ENTRIES} files are read"
            )
        self._archive = archive
        sections = _sections(self._text("model.ini"))
        self._info = _pairs(sections["info"])
        self._columns = [_unescape(line) for line in sections["columns"]]
        self._domains = sections.get("domains", [])

    def read(self) -> Mojo:
        algorithm, category = self._info["algo"], self._info["category"]
        builders = {"drf": self._drf, "gbm": self._gbm, "glm": self._glm}
        if algorithm not in builders or category not in ("Binomial", "Multinomial"):
            raise UsageError(
                f"it holds {algorithm!r} of category {category!r}; expected a classifier, one of "
                f"{sorted(builders)}"
            )
        if self._info.get("balance_classes") == "true":
            raise UsageError(
                "it was trained with balance_classes, which changes probabilities afterwards; "
                "train it without"
            )
        labels = self._labels()
        member = builders[algorithm](len(labels))
        member.check()
        columns = tuple(self._columns[: self._number("n_features")])
        return Mojo(labels=labels, columns=columns, member=member)

    def _labels(self) -> tuple[str, ...]:
        """Return the labels; raises UsageError if another column than theirs has categories."""
        response = str(self._number("n_features"))
        found = [re.fullmatch(r"(\d+): (\d+) (d\d+\.txt)", line) for line in self._domains]
        domains = {match[1]: match for match in found if match}
        if set(domains) != {response}:
            raise UsageError("a column holds categories; train it on numbers only")
        labels = tuple(
            _unescape(one) for one in self._text(f"domains/{domains[response][3]}").splitlines()
        )
        if len(labels) != self._number("n_classes"):
            raise UsageError(f"{len(labels)} labels for {self._info['n_classes']} classes")
        return labels

    def _drf(self, label_count: int) -> Member:
        if self._info.get("binomial_double_trees") == "true":
            raise UsageError("it was trained with binomial_double_trees; train it without")
        width = 1 if label_count == 2 else label_count
        return Member(
            model=self._forest(width),
            link="first_share" if width == 1 else "shares",
            label_count=label_count,
            initial=np.zeros(width),
            scale=1.0 / self._number("n_trees") if width == 1 else 1.0,
            threshold=self._threshold(label_count),
            trainer="h2o",
        )

    def _gbm(self, label_count: int) -> Member:
        self._expect("distribution", ("bernoulli", "multinomial"))
        width = 1 if label_count == 2 else label_count
        return Member(
            model=self._forest(width),
            link="logistic" if width == 1 else "softmax",
            label_count=label_count,
            initial=np.full(width, float(self._info["init_f"])),
            threshold=self._threshold(label_count),
            trainer="h2o",
        )

    def _glm(self, label_count: int) -> Member:
        self._expect("family", ("binomial", "multinomial"))
        self._expect("link", ("logit", "multinomial"))
        self._expect("cats", ("0",))
        self._expect("mean_imputation", ("true",))
        width = 1 if label_count == 2 else label_count
        weights = _numbers(self._info["beta"]).reshape(width, -1)
        return Member(
            model=LinearModel(
                coefficients=np.ascontiguousarray(weights[:, :-1]),
                intercepts=weights[:, -1].copy(),
                fill=_numbers(self._info["num_means"]),
            ),
            link="logistic" if width == 1 else "softmax",
            label_count=label_count,
            initial=np.zeros(width),
            threshold=self._threshold(label_count),
            trainer="h2o",
        )

    def _forest(self, width: int) -> Forest:
        if float(self._info["mojo_version"]) < OLDEST_TREES:
            raise UsageError(
                f"its trees are of MOJO version {self._info['mojo_version']}; expected "
                f"{OLDEST_TREES} or newer: write it with a newer H2O"
            )
        self._expect("endianness", ("LITTLE_ENDIAN",))
        self._expect("n_trees_per_class", (str(width),))
        trees = [
            read_tree(self._content(f"trees/t{output:02d}_{number:03d}.bin"), output)
            for number in range(self._number("n_trees"))
            for output in range(width)
        ]
        return build_forest(trees, feature_count=self._number("n_features"), score_width=width)

    def _threshold(self, label_count: int) -> float | None:
        return float(self._info["default_threshold"]) if label_count == 2 else None

    def _expect(self, key: str, allowed: tuple[str, ...]) -> None:
        if self._info[key] not in allowed:
            raise UsageError(f"its {key} is {self._info[key]!r}; expected {' or '.join(allowed)}")

    def _number(self, key: str) -> int:
        return int(self._info[key])

    def _text(self, name: str) -> str:
        return self._content(name).decode("utf-8")

    def _content(self, name: str) -> bytes:
        return self._archive.read(name)


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        heading = re.fullmatch(r"\[(info|columns|domains)\]", line)
        if heading and heading[1] not in sections:
            lines = sections[heading[1]] = []
        elif line:
            lines.append(line)
    return sections


def _pairs(lines: list[str]) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _numbers(written: str) -> np.ndarray:
    return np.array([float(one) for one in written.strip("[]").split(",") if one.strip()])


def _unescape(line: str) -> str:
    return line.replace("\\n", "\n") if "\\n" in line else line
