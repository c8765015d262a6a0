"""How good an ensemble and each of its members are on labeled texts, by domain and by length.

Thresholds are those that were fixed when the ensemble was trained; nothing is fitted to the texts
that it is judged on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.groups import MemberGroup
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.metrics import Figure, Scored, figures_of
from ivme.ensemble.stacking import FALSE_POSITIVE_RATES
from ivme.ensemble.training import number_labels
from ivme.ensemble.voting import decide
from ivme.ensemble.words import count_words
from ivme.errors import UsageError

MAJORITY, STACKING = "majority vote", "stacking"
CHUNK_TEXTS = 128  # between two lines of progress
WORD_BOUNDS = (50, 100, 200, 400)  # where groups of texts of like length begin
MOST_DOMAINS = 40

Floats = NDArray[np.float64]
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """What one that judges says of the texts: a member, or a way of combining all of them.

    probabilities: float64 [texts, labels]; choices: [texts], numbers of labels. found: by rate of
    false positives, whether the positive label is found, bool [texts]; empty without thresholds.
    scoring_s: of all the texts, by the group of members that it is in; None for combinations.
    """

    name: str
    is_member: bool
    probabilities: Floats
    choices: NDArray[np.intp]
    found: Mapping[str, NDArray[np.bool_]]
    scoring_s: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """How good a judge is: on all texts, and on those of each domain and of like length."""

    judge: Judge
    scored: Scored
    figures: Mapping[str, Figure]
    by_domain: Mapping[str, Mapping[str, Figure]]
    by_length: Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Verdicts on members and combinations, and what they were judged on.

    counts, domains, lengths: texts of each label, of each domain, of each range of words.
    """

    data: str
    labels: tuple[str, ...]
    label_names: Mapping[str, str]
    positive: str
    counts: Mapping[str, int]
    domains: Mapping[str, int]
    lengths: Mapping[str, int]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)  # of the ensemble


def evaluate(
    ensemble: EnsembleFolder,
    data: LabeledTexts,
    domains: Sequence[str] | None = None,
    *,
    positive: str | None = None,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress = lambda line: None,
) -> Evaluation:
    """Return how good the ensemble is on the texts; members are opened one by one.

    domains: of each text, such as its kind or where it is from. positive: the label that is to be
    found; the first one unless given.

    Raises:
        UsageError: labels that the ensemble does not know, or another positive label.
    """
    labels = ensemble.labels
    positive = labels[0] if positive is None else positive
    if positive not in labels:
        raise UsageError(f"positive label {positive!r}; expected one of {', '.join(labels)}")
    number_labels(data.texts, data.labels, labels)  # refuses labels that are not known
    members: list[Judge] = []
    for name in ensemble.group_names:
        group = ensemble.open_group(name, threads=threads, device=device, progress=progress)
        try:
            members += _members_of(group, data.texts, progress)
        finally:
            group.close()
    at = labels.index(positive)
    judges = [*_with_thresholds(ensemble, members, at), *_combinations(ensemble, members, at)]
    progress("Drawing texts anew for the intervals...")
    return judged(judges, ensemble, data, domains, at)


def judged(
    judges: Sequence[Judge],
    ensemble: EnsembleFolder,
    data: LabeledTexts,
    domains: Sequence[str] | None,
    positive: int,
) -> Evaluation:
    """Return the evaluation of what the judges said; positive: the number of a label."""
    truth = data.numbers(ensemble.labels)
    words = [count_words(text) for text in data.texts]
    by_domain, by_length = domain_groups(data, domains), length_groups(words)
    return Evaluation(
        data=Path(data.source).name,
        labels=ensemble.labels,
        label_names=ensemble.label_names,
        positive=ensemble.labels[positive],
        counts={label: int((truth == at).sum()) for at, label in enumerate(ensemble.labels)},
        domains={name: int(where.sum()) for name, where in by_domain.items()},
        lengths={name: int(where.sum()) for name, where in by_length.items()},
        verdicts=tuple(_verdict(one, truth, positive, by_domain, by_length) for one in judges),
        notes=tuple(_notes(words, ensemble)),
        facts={
            "content_hash": ensemble.content_hash,
            "members": list(ensemble.member_names),
            "least_words": ensemble.least_words,
        },
    )


def length_groups(words: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    """Return which texts have so many words, by range; ranges without a text are left out."""
    counted = np.asarray(words)
    starts, ends = (0, *WORD_BOUNDS), (*WORD_BOUNDS, None)
    groups = {}
    for start, end in zip(starts, ends, strict=True):
        name = f"{start} or more" if end is None else f"{start} to {end - 1}"
        groups[name if start else f"under {end}"] = (counted >= start) & (
            counted < (np.inf if end is None else end)
        )
    return {name: where for name, where in groups.items() if where.any()}


def domain_groups(
    data: LabeledTexts, domains: Sequence[str] | None
) -> dict[str, NDArray[np.bool_]]:
    """Return which texts are of each domain, largest domain first.

    Raises:
        UsageError: so many different ones that they cannot be kinds of texts.
    """
    if domains is None:
        return {}
    written = np.array(domains)
    names, counts = np.unique(written, return_counts=True)
    if len(names) > MOST_DOMAINS:
        raise UsageError(
            f"{data.source}: the column of domains has {len(names)} different values; at most "
            f"{MOST_DOMAINS} are told apart: name a column of kinds of texts"
        )
    ordered = names[np.argsort(-counts, kind="stable")]
    return {str(name): written == name for name in ordered}


def _members_of(group: MemberGroup, texts: Sequence[str], progress: Progress) -> list[Judge]:
    """Return what the members of a group say of the texts, chunk by chunk."""
    names, parts, start = ", ".join(group.names), [], time.perf_counter()
    for first in range(0, len(texts), CHUNK_TEXTS):
        progress(f"Running {names}... {first:,} of {len(texts):,}")
        parts.append(group.score_batch(texts[first : first + CHUNK_TEXTS]))
    scoring_s = time.perf_counter() - start
    tables = {name: np.concatenate([part[name] for part in parts]) for name in group.names}
    choices = group.decide(tables)
    return [
        Judge(
            name=name,
            is_member=True,
            probabilities=tables[name],
            choices=choices[name],
            found={},
            scoring_s=scoring_s,
        )
        for name in group.names
    ]


def _with_thresholds(
    ensemble: EnsembleFolder, members: Sequence[Judge], positive: int
) -> list[Judge]:
    """Return the members with what they find at the thresholds that were fixed for each alone."""
    return [
        replace(one, found=_found(ensemble, {one.name: one.probabilities}, positive))
        for one in members
    ]


def _combinations(ensemble: EnsembleFolder, members: Sequence[Judge], positive: int) -> list[Judge]:
    tables = {one.name: one.probabilities for one in members}
    choices = {one.name: one.choices for one in members}
    judges = [majority(tables, choices)]
    if ensemble.stacking is not None:
        verdicts = decide(tables, choices, voting="stacking", stacking=ensemble.stacking)
        judges.append(
            Judge(
                name=STACKING,
                is_member=False,
                probabilities=verdicts.probability,
                choices=verdicts.chosen,
                found=_found(ensemble, tables, positive),
            )
        )
    return judges


def majority(tables: Mapping[str, Floats], choices: Mapping[str, NDArray[np.intp]]) -> Judge:
    """Return what most members say: the share of votes as the probability.

    The mean probability counts as one vote more, so that texts with equal votes are ranked.
    """
    mean = np.mean(list(tables.values()), axis=0)
    votes = np.stack(list(choices.values()))[:, :, np.newaxis] == np.arange(mean.shape[1])
    return Judge(
        name=MAJORITY,
        is_member=False,
        probabilities=(votes.sum(axis=0) + mean) / (len(votes) + 1),
        choices=decide(tables, choices, voting="majority", stacking=None).chosen,
        found={},
    )


def _found(
    ensemble: EnsembleFolder, tables: Mapping[str, Floats], positive: int
) -> dict[str, NDArray[np.bool_]]:
    """Return which texts lie at or above the thresholds that were fixed for these members."""
    if ensemble.stacking is None:
        return {}
    thresholds = ensemble.stacking.pool_of(tables).thresholds[ensemble.labels[positive]]
    calibrated = ensemble.stacking.combine(tables)[:, positive]
    return {rate: calibrated >= thresholds[rate] for rate in FALSE_POSITIVE_RATES}


def _verdict(
    judge: Judge,
    truth: NDArray[np.intp],
    positive: int,
    domains: Mapping[str, NDArray[np.bool_]],
    lengths: Mapping[str, NDArray[np.bool_]],
) -> Verdict:
    scored = Scored(
        scores=judge.probabilities[:, positive],
        is_positive=truth == positive,
        is_right=judge.choices == truth,
        found=judge.found,
    )
    return Verdict(
        judge=judge,
        scored=scored,
        figures=figures_of(scored),
        by_domain={name: figures_of(scored.at(where)) for name, where in domains.items()},
        by_length={name: figures_of(scored.at(where)) for name, where in lengths.items()},
    )


def _notes(words: Sequence[int], ensemble: EnsembleFolder) -> list[str]:
    notes = []
    short = sum(count < ensemble.least_words for count in words)
    if short:
        notes.append(
            f"{short:,} of {len(words):,} texts have fewer than {ensemble.least_words} words, "
            "which is too short to judge; they are counted all the same."
        )
    if ensemble.stacking is None:
        notes.append("No thresholds were fixed in training, so nothing is counted at any.")
    return notes
