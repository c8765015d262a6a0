"""Training of the tree and linear members, from texts to a saved folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.augmentation import augmented
from ivme.ensemble.features import NgramSettings, TfidfFeatures
from ivme.ensemble.labeled_texts import own_groups
from ivme.ensemble.member import Member
from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.tabular import TabularMembers, checked_text
from ivme.ensemble.thresholds import best_f1_threshold
from ivme.ensemble.trainers.settings import MEMBERS, H2OPlace, MemberSettings
from ivme.errors import UsageError

TRAINERS = ("sklearn", "h2o")


# Words with punctuation, and runs of characters: neither alone tells every kind of text apart.
NGRAMS = (
    NgramSettings(splitting="token", longest=3, max_features=20_000, is_sublinear=True),
    NgramSettings(splitting="char", shortest=3, longest=4, max_features=20_000, is_sublinear=True),
)


@dataclass(frozen=True, kw_only=True)
class TabularSettings:
    """What to train: the features, the members by name, and their sizes.

    ngrams: the kinds of n-grams. tree_ngrams: how many of them, those that tell the labels apart
    best, trees read beside style and scores. Linear members read all n-grams and nothing else,
    unless H2O trains: then each member reads what trees read. style_weight: of figures of style; 0
    leaves them out. has_scores: whether linear models add up the n-grams for the trees.
    is_normalized: undo invisible characters and look-alike letters. variants: changed copies of
    each text to train on. h2o: where H2O runs; read by trainer="h2o" alone.
    """

    ngrams: tuple[NgramSettings, ...] = NGRAMS
    tree_ngrams: int = 800
    style_weight: float = 0.1
    has_scores: bool = True
    is_normalized: bool = True
    variants: int = 1
    members: tuple[str, ...] = MEMBERS
    sizes: MemberSettings = field(default_factory=MemberSettings)
    h2o: H2OPlace = field(default_factory=H2OPlace)

    def __post_init__(self) -> None:
        if not self.members or not set(self.members) <= set(MEMBERS):
            raise UsageError(f"members={self.members!r}; expected some of {list(MEMBERS)}")
        if self.tree_ngrams < 1 or self.style_weight < 0 or self.variants < 0:
            raise UsageError(
                f"tree_ngrams={self.tree_ngrams}, style_weight={self.style_weight}, "
                f"variants={self.variants}; expected tree_ngrams >= 1, the others >= 0"
            )


def train_tabular(
    texts: Sequence[str],
    labels: Sequence[object],
    *,
    folder: str | Path,
    trainer: str = "sklearn",
    validation: tuple[Sequence[str], Sequence[object]] | None = None,
    settings: TabularSettings | None = None,
    groups: Sequence[object] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> TabularMembers:
    """Train the members on labeled texts, save them in the folder, and return them.

    labels: any values, at least two different ones; they are kept as texts, in sorted order, and
    the second of two is the one that thresholds are for. validation: texts and labels on which
    thresholds are chosen (largest F1); without it scikit-learn's members choose the likelier
    label, and H2O's use the threshold that H2O found in training. groups: of each text, those that
    belong together (a text and its imitation), None or blank for a text that belongs with no
    other; they help the trees to trust the scores rightly.

    Raises:
        UsageError: texts and labels that do not fit, one label only, one whose texts are all in
            one group, an unknown trainer, or H2O that cannot be reached.
    """
    settings = settings or TabularSettings()
    if trainer not in TRAINERS:
        raise UsageError(f"trainer={trainer!r}; expected one of {list(TRAINERS)}")
    names, numbers = number_labels(texts, labels)
    if groups is not None and len(groups) != len(texts):
        raise UsageError(f"{len(texts)} texts with {len(groups)} groups; expected one for each")
    folds = score_folds(labels, groups) if settings.has_scores else None
    progress("Fitting TF-IDF...")
    features, rows, numbers = _fit_features(settings, texts, numbers, folds)
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


def score_folds(labels: Sequence[object], groups: Sequence[object] | None) -> NDArray[np.intp]:
    """Return the fold of each text, [texts]: its scores in training are by models of the others.

    Raises:
        UsageError: a label that is in one fold alone, so that such a model would not know it.
    """
    from ivme.ensemble.trainers.score_fitting import fold_numbers

    belongs = own_groups([None] * len(labels) if groups is None else groups)
    number_of = {group: number for number, group in enumerate(dict.fromkeys(belongs))}
    together = np.array([number_of[group] for group in belongs], np.intp)
    names, numbers = np.unique([str(label) for label in labels], return_inverse=True)
    folds = fold_numbers(together, numbers)
    for number, name in enumerate(names):
        positions = np.flatnonzero(numbers == number).tolist()
        if len(set(folds[positions])) < 2:
            shared = {
                str(belongs[at])
                for at in positions
                if groups is not None and belongs[at] == groups[at]
            }
            raise UsageError(_too_close(str(name), len(positions), sorted(shared)))
    return folds


def _too_close(label: str, texts: int, groups: Sequence[str]) -> str:
    """Return why a label cannot be learned whose texts are all left out at once."""
    if not groups:
        return f"{texts} texts of the label {label!r}, which are too few; give 2 or more"
    return (
        f"the {texts} texts of the label {label!r} are left out all at once where scores are "
        f"learned, because groups stay together: they are in {', '.join(map(repr, groups))}; give "
        "texts of the label in more groups, or train without groups"
    )


def _fit_features(
    settings: TabularSettings,
    texts: Sequence[str],
    numbers: NDArray[np.intp],
    folds: NDArray[np.intp] | None,
) -> tuple[TfidfFeatures, FeatureRows, NDArray[np.intp]]:
    """Return the features, and the rows and label numbers of the texts with their variants.

    folds: of the texts, as `score_folds` gives them; None: no scores.
    """
    from ivme.ensemble.trainers.score_fitting import fit_scores
    from ivme.ensemble.trainers.tfidf_fitting import fit_features

    features = fit_features(
        texts,
        settings.ngrams,
        style_weight=settings.style_weight,
        is_normalized=settings.is_normalized,
    )
    copies = settings.variants + 1
    rows = features.transform_batch(augmented(texts, settings.variants, settings.sizes.seed))
    numbers = np.tile(numbers, copies)
    if folds is not None:
        features, rows = fit_scores(features, rows, numbers, np.tile(folds, copies))
    return features, rows, numbers


def _train(
    trainer: str,
    settings: TabularSettings,
    features: TfidfFeatures,
    rows: FeatureRows,
    numbers: NDArray[np.intp],
    label_count: int,
    progress: Callable[[str], None],
) -> dict[str, Member]:
    few = telling_columns(features, rows, numbers, settings.tree_ngrams)
    few_rows = rows.columns(few)
    if trainer == "h2o":
        from ivme.ensemble.trainers.h2o_trainer import train_with_h2o

        members = train_with_h2o(
            settings.members,
            few_rows,
            numbers,
            column_names=[features.names[column] for column in few],
            label_count=label_count,
            sizes=settings.sizes,
            place=settings.h2o,
            progress=progress,
        )
        return {name: member.reading(few, features.count) for name, member in members.items()}
    from ivme.ensemble.trainers.sklearn_trainer import SklearnTrainer

    local = SklearnTrainer(settings.sizes)
    many = np.arange(features.ngram_count, dtype=np.int32)
    members = {}
    for name in settings.members:
        progress(f"Training {name}...")
        columns = many if name == "GLM" else few
        found = local.train(name, rows.columns(many) if name == "GLM" else few_rows, numbers)
        members[name] = found.reading(columns, features.count)
    return members


def telling_columns(
    features: TfidfFeatures, rows: FeatureRows, numbers: NDArray[np.intp], ngrams: int
) -> NDArray[np.int32]:
    """Return the columns of the n-grams whose means differ most between labels, and all others.

    Differ: by the F statistic of an analysis of variance, column by column. Columns that are the
    same in every row are left out.
    """
    from sklearn.feature_selection import f_classif

    from ivme.ensemble.trainers.sklearn_trainer import as_csr

    matrix, count = as_csr(rows), features.ngram_count
    is_chosen = (matrix.max(axis=0) != matrix.min(axis=0)).toarray().ravel()
    with np.errstate(divide="ignore", invalid="ignore"):  # where a column is constant
        strength = np.nan_to_num(f_classif(matrix[:, :count], numbers)[0])
    is_chosen[np.argsort(-strength, kind="stable")[ngrams:]] = False
    return np.flatnonzero(is_chosen).astype(np.int32)


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
