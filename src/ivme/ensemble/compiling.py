"""Compiling an ensemble anew: members from elsewhere, and plans for the machine that it runs on.

A MOJO, or a model on an H2O cluster, takes the place of a tree or linear member; transformers get
new plans from the weights that training kept. What was settled with the old members is settled
again on labeled texts, or dropped where none are given.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from ivme.ensemble.features import TfidfFeatures
from ivme.ensemble.groups import Probabilities, TabularGroup, TransformerMember
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.linear import LinearModel
from ivme.ensemble.manifest import write_manifest
from ivme.ensemble.member import Member
from ivme.ensemble.mojo import Mojo, read_mojo
from ivme.ensemble.stacking_fitting import stacking_if_enough
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.thresholds import best_f1_threshold
from ivme.ensemble.train import check_target
from ivme.errors import UsageError
from ivme.whole_folder import whole_folder

if TYPE_CHECKING:
    from ivme.ensemble.transformer_plan import PlanSettings

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CompileJob:
    """What to compile.

    mojos: member -> MOJO zip. h2o_models: member -> key of a model on the cluster at h2o_url.
    data: labeled texts, none of them trained on, by which plans, thresholds and stacking are
    settled; None keeps the plans as they are. plans: how plans are made.
    """

    mojos: Mapping[str, Path] = field(default_factory=dict)
    h2o_models: Mapping[str, str] = field(default_factory=dict)
    h2o_url: str | None = None
    data: LabeledTexts | None = None
    plans: "PlanSettings | None" = None

    def __post_init__(self) -> None:
        if not self.mojos and not self.h2o_models and self.data is None:
            raise UsageError(
                "nothing to compile; give labeled texts to make the transformers' plans anew, or "
                "a MOJO or H2O model for a member"
            )
        twice = sorted(set(self.mojos) & set(self.h2o_models))
        if twice:
            raise UsageError(f"member {twice[0]}: a MOJO and an H2O model; give one of them")
        if self.h2o_models and self.h2o_url is None:
            raise UsageError("H2O models without the URL of their cluster; give it")


def compile_ensemble(
    folder: Path, target: Path, job: CompileJob, progress: Progress = lambda line: None
) -> EnsembleFolder:
    """Write the compiled ensemble whole or not at all, and return it; target may be the folder.

    The reports of the old ensemble are not kept: its figures are not those of the new one. Files
    that others put into the folder stay in it, unbound; they are not copied to another target.

    Raises:
        UsageError: an unknown member, a model of other labels or columns, texts of other labels,
            weights that training did not keep.
    """
    ensemble = EnsembleFolder.read(folder)
    check_target(target)
    _check(ensemble, job)
    with whole_folder(target) as draft:
        _copy(ensemble.path, draft, set(ensemble.files) - set(REPORTS))
        _Compilation(ensemble, job, draft, progress).run()
        if target.exists() and target.samefile(ensemble.path):
            _copy(ensemble.path, draft, _files_of_others(ensemble, draft))
    return EnsembleFolder.read(target)


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def _files_of_others(ensemble: EnsembleFolder, draft: Path) -> list[str]:
    """Return the names of files in the folder that are no part of the old or new ensemble."""
    paths = (path for path in ensemble.path.rglob("*") if path.is_file())
    names = (path.relative_to(ensemble.path).as_posix() for path in paths)
    known = {*ensemble.files, *REPORTS}
    return [name for name in names if name not in known and not (draft / name).exists()]


def bind_by_name(mojo: Mojo, features: TfidfFeatures) -> Member:
    """Return the member of a MOJO on these features; it may read some of them, in any order.

    Raises:
        UsageError: a column that is no feature.
    """
    place = {name: number for number, name in enumerate(features.names)}
    if not set(mojo.columns) <= set(place):
        return mojo.bound_to(features)  # columns by their n-grams or numbers, else an error
    columns = np.array([place[name] for name in mojo.columns], np.int32)
    member = mojo.member.reading(columns, features.count)
    return replace(member, features_hash=features.content_hash)


def _check(ensemble: EnsembleFolder, job: CompileJob) -> None:
    tabular = [name for one in ensemble.groups if one.kind == TABULAR for name in one.members]
    for name in (*job.mojos, *job.h2o_models):
        if name not in tabular:
            raise UsageError(
                f"member {name!r}; the tree and linear members of {ensemble.path} are "
                f"{', '.join(tabular) or 'none'}"
            )
    if job.data is None:
        return
    if job.data.label_set != ensemble.labels:
        raise UsageError(
            f"{job.data.source} has the labels {', '.join(job.data.label_set)}; the ensemble has "
            f"{', '.join(ensemble.labels)}: give texts of each"
        )
    for group in ensemble.groups:
        weights = ensemble.path / WEIGHTS_FOLDER / group.name
        if group.kind != TABULAR and not weights.is_dir():
            raise UsageError(
                f"{ensemble.path} has no weights of {group.name} to make a plan from; train again"
            )


class _Compilation:
    """One compilation: changes its draft, which is a copy of the ensemble."""

    def __init__(
        self, ensemble: EnsembleFolder, job: CompileJob, draft: Path, progress: Progress
    ) -> None:
        self.ensemble, self.job = ensemble, job
        self.draft, self.progress = draft, progress
        self.probabilities: Probabilities = {}
        self.facts: dict[str, Any] = {}

    def run(self) -> None:
        """Compile members and plans, settle what depends on them, bind all of it."""
        if self.job.mojos or self.job.h2o_models:
            self._replace_members()
        groups = self.ensemble.groups
        if self.job.data is not None:
            groups = tuple(self._settle(group, self.job.data) for group in groups)
        content = ensemble_to_json(
            labels=self.ensemble.labels,
            label_names=self.ensemble.label_names,
            groups=groups,
            stacking=self._stacking(),
            least_words=self.ensemble.least_words,
            training={**self.ensemble.training, "compiled": self._all_facts()},
        )
        (self.draft / ENSEMBLE_FILE).write_text(content, encoding="utf-8")
        write_manifest(self.draft, reports=REPORTS)

    def _all_facts(self) -> dict[str, Any]:
        """Return the facts of earlier compilations, those of this one in their places."""
        earlier = self.ensemble.training.get("compiled", {})
        members = {**earlier.get("members", {}), **self.facts.get("members", {})}
        return {**earlier, **self.facts, **({"members": members} if members else {})}

    def _replace_members(self) -> None:
        old = TabularMembers.load(self.draft / TABULAR)
        found = {name: self._from_mojo(path, old) for name, path in self.job.mojos.items()}
        found |= self._from_h2o(old)
        TabularMembers(
            features=old.features, labels=old.labels, members={**old.members, **found}
        ).save(self.draft / TABULAR)
        self.facts["members"] = {
            **{name: Path(path).name for name, path in self.job.mojos.items()},
            **{name: f"{key} on H2O" for name, key in self.job.h2o_models.items()},
        }

    def _from_mojo(self, path: Path, old: TabularMembers) -> Member:
        self.progress(f"Compiling {path}...")
        mojo = read_mojo(path)
        _check_labels(str(path), mojo.labels, old.labels)
        return bind_by_name(mojo, old.features)

    def _from_h2o(self, old: TabularMembers) -> dict[str, Member]:
        if not self.job.h2o_models:
            return {}
        from ivme.ensemble.trainers.h2o_cluster import h2o_cluster
        from ivme.ensemble.trainers.h2o_description import describe_h2o
        from ivme.ensemble.trainers.h2o_export import compile_h2o
        from ivme.ensemble.trainers.settings import H2OPlace

        members = {}
        with h2o_cluster(H2OPlace(url=self.job.h2o_url)) as h2o:
            for name, key in self.job.h2o_models.items():
                self.progress(f"Compiling {key}...")
                description = describe_h2o(_h2o_model(h2o, key))
                _check_labels(key, tuple(description.labels), old.labels)
                member = compile_h2o(description, old.features.names, _fill(old, name))
                members[name] = replace(member, features_hash=old.features.content_hash)
        return members

    def _settle(self, group: GroupEntry, data: LabeledTexts) -> GroupEntry:
        """Make the plan or the thresholds of a group anew, and keep what it says of the texts."""
        if group.kind == TABULAR:
            self._settle_tabular(group, data)
            return group
        from ivme.ensemble.transformer_plan import PlanSettings, make_plan

        weights, place = self.draft / WEIGHTS_FOLDER / group.name, self.draft / group.folder
        settings = self.job.plans or PlanSettings()
        shutil.rmtree(place)
        self.facts[group.name] = make_plan(
            group.name, weights, place, data, settings=settings, progress=self.progress
        )
        member = TransformerMember.load(
            group.name, place, self.ensemble.labels, threads=settings.threads
        )
        try:
            table = member.score_batch(data.texts)[group.name]
        finally:
            member.close()
        self.probabilities[group.name] = table
        return replace(group, threshold=self._threshold(table, data))

    def _settle_tabular(self, group: GroupEntry, data: LabeledTexts) -> None:
        members = TabularMembers.load(self.draft / group.folder)
        tables = TabularGroup(members).score_batch(data.texts)
        self.probabilities.update(tables)
        settled = {
            name: replace(member, threshold=self._threshold(tables[name], data))
            for name, member in members.members.items()
        }
        replace(members, members=settled).save(self.draft / group.folder)

    def _threshold(self, table: Any, data: LabeledTexts) -> float | None:
        if len(self.ensemble.labels) != 2:
            return None
        return best_f1_threshold(table[:, 1], data.numbers(self.ensemble.labels) == 1)

    def _stacking(self) -> Any:
        """Return the stacking fitted anew; None without texts or with few: the old one is void."""
        if self.job.data is None:
            if self.ensemble.stacking is not None:
                self.progress("Stacking is left out: it was fitted to the old members")
            return None
        labels = self.ensemble.labels
        return stacking_if_enough(
            self.probabilities, self.job.data.numbers(labels), labels, progress=self.progress
        )


def _check_labels(source: str, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found != expected:
        raise UsageError(
            f"{source} has the labels {', '.join(found)}; the ensemble has {', '.join(expected)}, "
            "in this order: give a model of the same labels"
        )


def _h2o_model(h2o: Any, key: str) -> Any:
    try:
        return h2o.get_model(key)
    except Exception as error:  # of HTTP, of H2O: its own classes are not documented
        raise UsageError(f"the cluster has no model {key!r}; give the key of one") from error


def _fill(old: TabularMembers, name: str) -> Any:
    """Return what stands for a missing value: as in the old member, 0 where it was none."""
    model = old.members[name].model
    return model.fill if isinstance(model, LinearModel) else np.zeros(old.features.count)
