"""Training of an ensemble: labeled texts in, a folder of members that vote out.

The members are trained on the training texts; thresholds, stacking and the quality of exported
transformers are settled on the validation texts, which no member was trained on.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ivme.ensemble.ensemble_folder import (
    ENSEMBLE_FILE,
    REPORTS,
    TABULAR,
    WEIGHTS_FOLDER,
    EnsembleFolder,
)
from ivme.ensemble.ensemble_json import GroupEntry, ensemble_to_json
from ivme.ensemble.frozen_lm_training import FrozenLMSettings, train_frozen_lm
from ivme.ensemble.groups import MemberGroup, Probabilities, TabularGroup, TransformerMember
from ivme.ensemble.kept_weights import KeptWeights, hash_of_folder, hash_of_texts
from ivme.ensemble.labeled_texts import LabeledTexts, check_labels, hold_out, without_texts_of
from ivme.ensemble.manifest import FORMAT, write_manifest
from ivme.ensemble.stacking import MAX_MEMBERS
from ivme.ensemble.stacking_fitting import stacking_if_enough
from ivme.ensemble.thresholds import best_f1_threshold
from ivme.ensemble.trainers.settings import MEMBERS as TABULAR_MEMBERS
from ivme.ensemble.training import TabularSettings, score_folds, train_tabular
from ivme.ensemble.transformer_plan import PlanSettings, make_plan
from ivme.ensemble.transformer_settings import FAMILIES, TransformerSettings, language_model_names
from ivme.ensemble.transformer_training import train_transformer
from ivme.errors import UsageError
from ivme.whole_folder import whole_folder

if TYPE_CHECKING:
    from ivme.measure.records import Record

MEMBERS = (*FAMILIES, *TABULAR_MEMBERS)
MOST_HELD_OUT = 2000  # texts to validate on, where a part of the training texts is held out
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings:
    """What to train.

    members: some of MEMBERS, in the order of answers. language_models: each adds a member, LM, LM2
    and so on, which reads how expected texts are to a causal language model; with one, `members`
    may be empty. There are MAX_MEMBERS in all at most. label_names: label -> what people read.
    least_words: texts with fewer are called too short to judge. held_out_share: of the training
    texts, to validate on where no other texts are given. keep_weights: keep the transformers'
    weights beside their plans, for a GPU. trainer: of the tabular members, "sklearn" or "h2o".
    """

    members: tuple[str, ...] = MEMBERS
    trainer: str = "sklearn"
    tabular: TabularSettings = field(default_factory=TabularSettings)
    transformers: Mapping[str, TransformerSettings] = field(
        default_factory=lambda: {name: TransformerSettings() for name in FAMILIES}
    )
    language_models: tuple[FrozenLMSettings, ...] = ()
    plans: PlanSettings = field(default_factory=PlanSettings)
    label_names: Mapping[str, str] = field(default_factory=dict)
    least_words: int = 50
    held_out_share: float = 0.15
    keep_weights: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        is_empty = not self.members and not self.language_models
        if is_empty or not set(self.members) <= set(MEMBERS):
            raise UsageError(
                f"members={', '.join(self.members) or 'none'}; expected some of "
                f"{', '.join(MEMBERS)}"
            )
        bases = [one.base for one in self.language_models]
        twice = next((base for base in bases if bases.count(base) > 1), None)
        if twice is not None:
            raise UsageError(f"language model {twice!r} is given twice; give each of them once")
        names = (*self.transformer_names, *self.tabular_names)
        if len(names) > MAX_MEMBERS:
            raise UsageError(
                f"{len(names)} members ({', '.join(names)}); at most {MAX_MEMBERS} can be "
                "combined: leave some out"
            )
        if not 0 < self.held_out_share < 1 or self.least_words < 0:
            raise UsageError(
                f"held_out_share={self.held_out_share}, least_words={self.least_words}; expected "
                "a share between 0 and 1, and 0 words or more"
            )

    @property
    def transformer_names(self) -> tuple[str, ...]:
        """The transformers to train, in order."""
        return (*(name for name in FAMILIES if name in self.members), *self.by_language_model)

    @property
    def by_language_model(self) -> dict[str, FrozenLMSettings]:
        """Settings of the members LM, LM2 and so on, by name."""
        names = language_model_names(len(self.language_models))
        return dict(zip(names, self.language_models, strict=True))

    def of_transformer(self, name: str) -> TransformerSettings | FrozenLMSettings:
        """Return what the transformer of that name is trained from."""
        found = self.by_language_model.get(name) or self.transformers.get(name)
        return found or TransformerSettings()

    @property
    def tabular_names(self) -> tuple[str, ...]:
        """The tree and linear members to train, in order."""
        return tuple(name for name in TABULAR_MEMBERS if name in self.members)


def train_ensemble(
    settings: EnsembleSettings,
    train: LabeledTexts,
    valid: LabeledTexts | None = None,
    *,
    folder: str | Path,
    progress: Progress = lambda line: None,
    on_search: "Callable[[Record], None]" = lambda record: None,
) -> EnsembleFolder:
    """Train the members, settle how they are combined, and write the folder whole or not at all.

    valid: texts that decide thresholds and weights; None: a part of `train` is held out, in which
    each label has its share and no text or group that is trained on. Texts of `valid` that are in
    `train` too are left out. An older ensemble in the folder is replaced. on_search: given the
    record of each search for a transformer's plan.

    Raises:
        UsageError: one label only, a label missing or unknown in `valid`, one whose texts are all
            in one group, a folder that holds something else, a base that cannot be fine-tuned.
        ModelNotFoundError: there is no such base.
    """
    target = Path(folder)
    check_target(target)
    check_bases(settings)
    check_labels(train, valid)
    unknown = sorted(set(settings.label_names) - set(train.label_set))
    if unknown:
        raise UsageError(
            f"a name for the label {unknown[0]!r}; {train.source} has {', '.join(train.label_set)}"
        )
    train, valid = _parts(settings, train, valid, progress)
    if settings.tabular_names and settings.tabular.has_scores:
        score_folds(train.labels, train.groups)  # refuses groups before transformers are trained
    with whole_folder(target) as draft:
        training = _Training(settings, train, valid, draft, progress, on_search)
        training.run()
    training.kept.forget()  # the folder is in its place
    return EnsembleFolder.read(target)


def check_target(folder: Path) -> None:
    """Raise UsageError, before any work, if the folder holds something other than an ensemble."""
    if folder.is_file():
        raise UsageError(f"cannot write the ensemble {folder}: it is a file; name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    manifest = folder / "manifest.json"
    if not manifest.is_file() or f'"{FORMAT}"' not in manifest.read_text(errors="replace"):
        raise UsageError(
            f"cannot write the ensemble {folder}: the folder holds something else; name an empty "
            "folder, or one that is not there yet"
        )


def check_bases(settings: EnsembleSettings) -> None:
    """Raise ModelNotFoundError, before any work, if there is no such base of a transformer."""
    from ivme.models.sources import model_folder

    for name in settings.transformer_names:
        base = settings.of_transformer(name).base
        if base is not None:
            model_folder(base)


class _Training:
    """One training: each step writes its part of the draft folder."""

    def __init__(
        self,
        settings: EnsembleSettings,
        train: LabeledTexts,
        valid: LabeledTexts,
        draft: Path,
        progress: Progress,
        on_search: "Callable[[Record], None]",
    ) -> None:
        self.settings, self.train, self.valid = settings, train, valid
        self.draft, self.progress, self.on_search = draft, progress, on_search
        self.labels = train.label_set
        self.truth = valid.numbers(self.labels)
        self.probabilities: Probabilities = {}
        self.facts: dict[str, Any] = {}
        self.kept = KeptWeights()

    def run(self) -> None:
        """Train all members, and write what binds them."""
        groups = [self._transformer(name) for name in self.settings.transformer_names]
        if self.settings.tabular_names:
            groups.append(self._tabular())
        content = ensemble_to_json(
            labels=self.labels,
            label_names=self.settings.label_names,
            groups=groups,
            stacking=stacking_if_enough(
                self.probabilities,
                self.truth,
                self.labels,
                seed=self.settings.seed,
                progress=self.progress,
            ),
            least_words=self.settings.least_words,
            training=self._all_facts(),
        )
        (self.draft / ENSEMBLE_FILE).write_text(content, encoding="utf-8")
        write_manifest(self.draft, reports=REPORTS)

    def _transformer(self, name: str) -> GroupEntry:
        weights = self.draft / WEIGHTS_FOLDER / name
        trained = self._trained(name, weights)
        plan = make_plan(
            name,
            weights,
            self.draft / name,
            self.valid,
            settings=self.settings.plans,
            progress=self.progress,
            on_search=self.on_search,
        )
        if not self.settings.keep_weights:
            shutil.rmtree(weights.parent)
        member = TransformerMember.load(
            name, self.draft / name, self.labels, threads=self.settings.plans.threads
        )
        table = self._score(member)[name]
        self.facts[name] = {"training": trained, "plan": plan}
        threshold = None
        if len(self.labels) == 2:
            threshold = best_f1_threshold(table[:, 1], self.truth == 1)
        return GroupEntry(name=name, kind="plan", folder=name, members=(name,), threshold=threshold)

    def _trained(self, name: str, weights: Path) -> dict[str, Any]:
        """Fill the folder with a trained transformer; return how its training went."""
        settings: Any = self.settings.of_transformer(name)
        train: Callable[..., dict[str, Any]] = (
            train_frozen_lm if isinstance(settings, FrozenLMSettings) else train_transformer
        )
        facts, was_there = self.kept.train_once(
            self._all_that_decides(name, settings),
            weights,
            lambda folder: train(
                name, self.train, self.labels, folder, settings=settings, progress=self.progress
            ),
        )
        if was_there:
            self.progress(f"{name} was trained before an interruption: its weights are taken")
        return facts

    def _all_that_decides(self, name: str, settings: Any) -> dict[str, Any]:
        """Return what a member's weights depend on, as JSON."""
        from ivme.measure.records import library_versions
        from ivme.models.sources import model_folder

        base = None if settings.base is None else hash_of_folder(model_folder(settings.base))
        return {
            "name": name,
            "settings": {**asdict(settings), "base": base},
            "labels": list(self.labels),
            "texts": hash_of_texts(self.train.texts, self.train.labels, self.train.groups or ()),
            "versions": library_versions(),
        }

    def _tabular(self) -> GroupEntry:
        names = self.settings.tabular_names
        settings = replace(self.settings.tabular, members=names)
        members = train_tabular(
            self.train.texts,
            self.train.labels,
            folder=self.draft / TABULAR,
            trainer=self.settings.trainer,
            validation=(self.valid.texts, self.valid.labels),
            settings=settings,
            groups=self.train.groups,
            progress=self.progress,
        )
        self._score(TabularGroup(members, threads=settings.sizes.threads))
        self.facts[TABULAR] = {"trainer": self.settings.trainer, "settings": asdict(settings)}
        return GroupEntry(name=TABULAR, kind=TABULAR, folder=TABULAR, members=names)

    def _score(self, group: MemberGroup) -> Probabilities:
        """Return what the group says of the validation texts, and keep it for the stacking."""
        try:
            found = group.score_batch(self.valid.texts)
        finally:
            group.close()
        self.probabilities.update(found)
        return found

    def _all_facts(self) -> dict[str, Any]:
        from ivme.measure.records import library_versions

        rows = np.arange(len(self.truth))
        return {
            "train": text_counts(self.train),
            "valid": text_counts(self.valid),
            "seed": self.settings.seed,
            "versions": library_versions(),
            "members": self.facts,
            "on_valid": {
                name: {
                    "accuracy": float((table.argmax(axis=1) == self.truth).mean()),
                    "log_loss": float(-np.log(np.maximum(table[rows, self.truth], 1e-12)).mean()),
                }
                for name, table in self.probabilities.items()
            },
        }


def _parts(
    settings: EnsembleSettings, train: LabeledTexts, valid: LabeledTexts | None, progress: Progress
) -> tuple[LabeledTexts, LabeledTexts]:
    """Return the texts to train and to validate on, none of them in both."""
    if valid is None:
        train, valid = hold_out(
            train, settings.held_out_share, seed=settings.seed, most=MOST_HELD_OUT
        )
        progress(f"Held out {len(valid)} of {len(train) + len(valid)} texts to validate on")
        return train, valid
    kept = without_texts_of(valid, train)
    if len(kept) < len(valid):
        progress(f"Left out {len(valid) - len(kept)} validation texts that are trained on")
        check_labels(train, kept)
    return train, kept


def text_counts(data: LabeledTexts) -> dict[str, Any]:
    """Return where texts are from and how many each label has, as the description keeps it."""
    texts = {label: data.labels.count(label) for label in data.label_set}
    return {"source": Path(data.source).name, "texts": texts}
