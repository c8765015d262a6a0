"""The texts of a search: what is timed, what quality is judged on, what ranges are taken from."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivme.bench.cases import CALIBRATION_TEXTS, real_texts, synthetic_texts
from ivme.bench.configuration import CORPUS
from ivme.engines.answers import has_independent_labels
from ivme.models.corpus import corpus_documents
from ivme.models.workloads import corpus_workload, read_workload
from ivme.tune.labels import match_labels
from ivme.tune.quality import check_metric

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel
    from ivme.tune.configuration import TuneConfig

MADE_UP_TEXTS = 4  # of exactly config.tokens tokens; one more says nothing more
SPLIT_FROM = 4 * CALIBRATION_TEXTS  # texts, from which some are kept apart for calibration


@dataclass(frozen=True, kw_only=True)
class Material:
    """Texts as the model takes them: with a mask in each, if it fills masks."""

    timed: tuple[str, ...]
    judged: tuple[str, ...]
    labels: tuple[str, ...] | None  # of the judged texts, in the model's own names
    calibration: tuple[str, ...]
    notes: tuple[str, ...] = ()


def gather(config: "TuneConfig", model: "LoadedModel") -> Material:
    """Return the texts that the configuration names, in an order drawn by its seed.

    Raises:
        WorkloadError: the file cannot be read, or has no such column.
        UsageError: labels that are not the model's, or for a model that has none.
    """
    check_metric(
        config.metric,
        model.kind,
        has_labels=config.labels is not None,
        has_independent_labels=has_independent_labels(model),
    )
    texts, labels = _read(config)
    if labels is not None:
        labels = match_labels(labels, model.labels)
    texts, labels = drawn(tuple(real_texts(texts, model)), labels, config.seed)
    given = len(texts)
    calibration, texts, labels = set_apart(texts, labels)
    notes = []
    if len(texts) < given:
        notes.append(
            f"{len(calibration)} texts, drawn by chance, are for calibration alone: quality is "
            "judged on the others"
        )
    timed = texts
    if config.tokens is not None:
        timed = tuple(synthetic_texts(model, config.tokens, MADE_UP_TEXTS, config.seed))
    return Material(
        timed=timed, judged=texts, labels=labels, calibration=calibration, notes=tuple(notes)
    )


def drawn(
    texts: Sequence[str], labels: Sequence[str] | None, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return texts and labels in one drawn order: in a sorted file, the first tell of no others."""
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    own = None if labels is None else tuple(labels[at] for at in order)
    return tuple(texts[at] for at in order), own


def set_apart(
    texts: tuple[str, ...], labels: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]:
    """Return texts for calibration, and texts and labels to judge by.

    These are others from SPLIT_FROM texts on; of fewer, all are judged.
    """
    if len(texts) < SPLIT_FROM:
        return texts[:CALIBRATION_TEXTS], texts, labels
    kept = len(texts) - CALIBRATION_TEXTS
    return texts[kept:], texts[:kept], None if labels is None else labels[:kept]


def spread_by_length(texts: Sequence[str], count: int) -> tuple[str, ...]:
    """Return `count` of the texts with the lengths of all, shortest to longest, in their order."""
    if count >= len(texts):
        return tuple(texts)
    by_length = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    step = len(texts) / count
    return tuple(texts[at] for at in sorted(by_length[int((i + 0.5) * step)] for i in range(count)))


def _read(config: "TuneConfig") -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    source = config.texts
    if source.file == CORPUS:
        count = min(source.limit or len(corpus_documents()), len(corpus_documents()))
        return corpus_workload(count, seed=config.seed).texts, None
    workload = read_workload(
        source.file, column=source.column, label_column=config.labels, limit=source.limit
    )
    return workload.texts, workload.labels
