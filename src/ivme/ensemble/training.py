"""Training of the tree and linear members, from texts to a saved folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.features import NgramSettings, TfidfFeatures
from ivme.ensemble.member import Member
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.tabular import TabularMembers, checked_text
from ivme.ensemble.thresholds import best_f1_threshold
from ivme.ensemble.trainers.settings import MEMBERS, H2OPlace, MemberSettings
from ivme.errors import UsageError

TRAINERS = ("sklearn", "h2o")


@dataclass(frozen=True, kw_only=True)
class TabularSettings:
    """What to train: the n-grams, the members by name, and their sizes.

    h2o: where H2O runs; read by trainer="h2o" alone.
    """

    ngrams: tuple[NgramSettings, ...] = (NgramSettings(),)
    members: tuple[str, ...] = MEMBERS
    sizes: MemberSettings = field(default_factory=MemberSettings)
    h2o: H2OPlace = field(default_factory=H2OPlace)

    def __post_init__(self) -> None:
        if not self.members or not set(self.members) <= set(MEMBERS):
            raise UsageError(f"members={self.members!r}; expected some of {list(MEMBERS)}")


def train_tabular(
    texts: Sequence[str],
    labels: Sequence[object],
    *,
    folder: str | Path,
    trainer: str = "sklearn",
    validation: tuple[Sequence[str], Sequence[object]] | None = None,
    settings: TabularSettings | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> TabularMembers:
    """Train the members on labeled texts, save them in the folder, and return them.

    labels: any values, at least two different ones; they are kept as texts, in sorted order, and
    the second of two is the one that thresholds are for. validation: texts and labels on which
    thresholds are chosen (largest F1); without it scikit-learn's members choose the likelier
    label, and H2O's use the threshold that H2O found in training.

    Raises:
        UsageError: texts and labels that do not fit, one label only, an unknown trainer, or H2O
            that cannot be reached.
    """
    settings = settings or TabularSettings()
    if trainer not in TRAINERS:
        raise UsageError(f"trainer={trainer!r}; expected one of {list(TRAINERS)}")
    names, numbers = number_labels(texts, labels)
    progress("Fitting TF-IDF...")
    from ivme.ensemble.trainers.tfidf_fitting import fit_features

    features = fit_features(texts, settings.ngrams)
    rows = features.transform_batch(texts)
    found = _train(trainer, settings, features, rows, numbers, len(names), progress)
    if validation is not None and len(names) == 2:
        found = _with_thresholds(found, features, validation, names)
    bound = {
        name: replace(member, features_hash=features.content_hash) for name, member in found.items()
    }
    tabular = TabularMembers(features=features, labels=names, members=bound)
    tabular.save(folder)
    return tabular


def number_labels(
    texts: Sequence[str], labels: Sequence[object], known: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the labels as sorted texts (or those known), and the number of each text's label.

    Raises:
        UsageError: no texts, another number of labels, one label only, or one that is not known.
    """
    for text in texts:
        checked_text(text)
    if len(texts) != len(labels) or not len(texts):
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels; expected one for each")
    written = [str(label) for label in labels]
    names = known or tuple(sorted(set(written)))
    if len(names) < 2:
        raise UsageError(f"every text has the label {names[0]!r}; expected two labels or more")
    number_of = {name: number for number, name in enumerate(names)}
    strange = sorted(set(written) - set(names))
    if strange:
        raise UsageError(f"label {strange[0]!r} is none of those in training: {', '.join(names)}")
    return names, np.array([number_of[name] for name in written], np.intp)


def _train(
    trainer: str,
    settings: TabularSettings,
    features: TfidfFeatures,
    rows: FeatureRows,
    numbers: NDArray[np.intp],
    label_count: int,
    progress: Callable[[str], None],
) -> dict[str, Member]:
    if trainer == "sklearn":
        from ivme.ensemble.trainers.sklearn_trainer import SklearnTrainer

        local = SklearnTrainer(settings.sizes)
        members = {}
        for name in settings.members:
            progress(f"Training {name}...")
            members[name] = local.train(name, rows, numbers)
        return members
    from ivme.ensemble.trainers.h2o_trainer import train_with_h2o

    return train_with_h2o(
        settings.members,
        rows,
        numbers,
        column_names=features.names,
        label_count=label_count,
        sizes=settings.sizes,
        place=settings.h2o,
        progress=progress,
    )


def _with_thresholds(
    members: dict[str, Member],
    features: TfidfFeatures,
    validation: tuple[Sequence[str], Sequence[object]],
    names: tuple[str, ...],
) -> dict[str, Member]:
    texts, labels = validation
    _, numbers = number_labels(texts, labels, names)
    rows = features.transform_batch(texts)
    return {
        name: replace(
            member,
            threshold=best_f1_threshold(member.probabilities(rows)[:, 1], numbers == 1),
        )
        for name, member in members.items()
    }
