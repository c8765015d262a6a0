"""The chapter in which five classifiers learn to tell MM-Rec's writing from people's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivme.ensemble.demo_texts import AI, HUMAN, LABEL_NAMES, DemoTexts
from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.ensemble.train import EnsembleSettings, check_target, train_ensemble
from ivme.ensemble.trainers.settings import MemberSettings
from ivme.ensemble.training import TabularSettings
from ivme.ensemble.transformer_plan import PlanSettings
from ivme.ensemble.transformer_settings import FAMILIES, TransformerSettings
from ivme.measure.records import Record, record_to_json
from ivme.tour.settings import TourSettings

ENSEMBLE = "model"  # the folder of the ensemble
NOTE = (
    "A demo: one side is Python's documentation, the other what a small model wrote after some "
    "seconds of reading it. It is no detector for any other text."
)

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Voting:
    """An ensemble, how good it is, and the records of the searches for its plans."""

    ensemble: EnsembleFolder
    record: Record
    searches: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A text of known origin, and what the ensemble says of it, as `Predictor.predict_all` does."""

    text: str
    truth: str  # the name of its label
    answer: dict[str, Any]


def check_ensemble(folder: Path) -> None:
    """Raise UsageError, before any work, if the ensemble's place in the folder is taken."""
    check_target(folder / ENSEMBLE)


def demo_name(name: str) -> str:
    """Return the name of a label; wherever it is read, it says that this is a demo."""
    return f"{name} (demo)"


def train_voters(
    settings: TourSettings,
    texts: DemoTexts,
    folder: Path,
    *,
    threads: int,
    progress: Progress = lambda line: None,
) -> Voting:
    """Train five members, tune the transformers, judge all on the validation texts.

    The ensemble is in the folder under ENSEMBLE, with record and model card.
    """
    searches: list[Record] = []
    ensemble = train_ensemble(
        _ensemble_settings(settings, threads),
        texts.train,
        texts.valid,
        folder=folder / ENSEMBLE,
        progress=progress,
        on_search=searches.append,
    )
    record = _judged(ensemble, texts, settings.command, progress)
    return Voting(ensemble=ensemble, record=record, searches=tuple(searches))


def ask(folder: Path, texts: DemoTexts) -> list[Asked]:
    """Return what the ensemble says of one validation text of each origin."""
    from ivme.ensemble.predictor import Predictor

    chosen = [texts.valid.labels.index(label) for label in (AI, HUMAN)]
    with Predictor.load(folder / ENSEMBLE) as predictor:
        return [
            Asked(
                text=texts.valid.texts[at],
                truth=demo_name(LABEL_NAMES[texts.valid.labels[at]]),
                answer=predictor.predict_all(texts.valid.texts[at], details=True),
            )
            for at in chosen
        ]


def _ensemble_settings(settings: TourSettings, threads: int) -> EnsembleSettings:
    sizes = MemberSettings(
        forest_trees=settings.forest_trees,
        boosting_trees=settings.forest_trees,
        seed=settings.seed,
        threads=threads,
    )
    transformer = TransformerSettings(
        budget_s=settings.training_s, seed=settings.seed, threads=threads
    )
    return EnsembleSettings(
        tabular=TabularSettings(sizes=sizes, variants=settings.variants),
        transformers=dict.fromkeys(FAMILIES, transformer),
        plans=PlanSettings(
            search_s=settings.search_s,
            max_quality_loss=settings.max_quality_loss,
            threads=threads,
            engines=settings.plan_engines,
        ),
        label_names={label: demo_name(name) for label, name in LABEL_NAMES.items()},
        seed=settings.seed,
    )


def _judged(
    ensemble: EnsembleFolder, texts: DemoTexts, command: tuple[str, ...], progress: Progress
) -> Record:
    """Return the record of the evaluation; it is in the ensemble's folder too, with its card."""
    import json

    from ivme.ensemble.evaluation import evaluate
    from ivme.ensemble.evaluation_record import evaluation_record
    from ivme.ensemble.model_card import model_card

    evaluation = evaluate(ensemble, texts.valid, texts.valid_domains, progress=progress)
    record = evaluation_record(
        evaluation, command=command, settings={"folder": ENSEMBLE}, notes=(NOTE,)
    )
    ensemble.write_reports(
        evaluation=json.loads(record_to_json(record)), card=model_card(ensemble, record)
    )
    return record
