"""`ivme ensemble train`: labeled texts in, a folder of classifiers that vote out."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ivme.cli.arguments import LabelColumn, TextColumn, refuse_without, split_names
from ivme.cli.ensemble_evaluate import DEMO_NOTE, keep_in_folder, print_evaluation
from ivme.cli.ensemble_progress import Tell, timed_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ivme.ensemble.ensemble_folder import EnsembleFolder
    from ivme.ensemble.labeled_texts import LabeledTexts
    from ivme.ensemble.train import EnsembleSettings
    from ivme.measure.records import Record

VALID_NOTE = (
    "These are the validation texts: no member was trained on them, but thresholds and weights "
    "were settled on them. Figures on new texts are a little lower, and lower still on other kinds."
)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Texts to train and to validate on, the domains of the latter, and what to say of them."""

    train: "LabeledTexts"
    valid: "LabeledTexts"
    valid_domains: tuple[str, ...] | None = None
    label_names: "Mapping[str, str]" = field(default_factory=dict)
    notes: tuple[str, ...] = (VALID_NOTE,)


def train(
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Write the ensemble there.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Labeled texts: .csv, .tsv or .jsonl; those of the demo unless given."),
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(help="Texts to validate on; a part of --data is held out unless given."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Column with what belongs together; a group is never split apart."),
    ] = None,
    label_names: Annotated[
        str | None, typer.Option(help='What people read for labels: "0=AI,1=Human".')
    ] = None,
    members: Annotated[
        str | None,
        typer.Option(help="Train these alone, of BERT,RoBERTa,DRF,GBM,GLM; all unless given."),
    ] = None,
    bert: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Folder or hub id to fine-tune; a small BERT from scratch unless given.",
        ),
    ] = None,
    roberta: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The same for RoBERTa.")
    ] = None,
    language_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Folder or hub id of a model that predicts the next token: adds the member LM, "
            "which learns from how expected a text is to it, and reads each text once. "
            "Given again with another one: LM2 too.",
        ),
    ] = None,
    trainer: Annotated[
        str, typer.Option(help="Of DRF, GBM and GLM: sklearn, or h2o, which needs Java.")
    ] = "sklearn",
    h2o_url: Annotated[
        str | None,
        typer.Option(help="With --trainer h2o: a running cluster; one is started unless given."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds to train both transformers; a tenth of one a text and each unless given."
        ),
    ] = None,
    search: Annotated[
        float | None,
        typer.Option(
            help="Seconds to search for each transformer's fastest plan; else a few ways."
        ),
    ] = None,
    least_words: Annotated[
        int, typer.Option(min=0, help="Texts with fewer words are called too short to judge.")
    ] = 50,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of training; one a core unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, splits and samples.")] = 0,
) -> None:
    """Train classifiers of different kinds that vote on a text.

    Two transformers, two kinds of trees and a linear model; the plans of the transformers are
    tuned for this machine. Without --data a demo is trained, on texts made here.
    """
    from ivme.ensemble.text_table import check_known_labels, read_label_names
    from ivme.ensemble.train import check_bases, check_target, train_ensemble
    from ivme.errors import UsageError

    check_target(folder)
    columns = {"text": text_column, "label": label_column, "group": group_column}
    if data is None and valid is not None:
        raise UsageError(f"--valid {valid} without --data; give the texts to train on too")
    if data is None:
        refuse_without("--data", {f"--{name}-column": one for name, one in columns.items()})
    settings = _settings(
        members,
        {"BERT": bert, "RoBERTa": roberta},
        language_models=language_model or (),
        trainer=trainer,
        h2o_url=h2o_url,
        budget_s=budget,
        search_s=search,
        threads=threads or all_threads(),
        label_names=read_label_names(label_names),
        least_words=least_words,
        seed=seed,
    )
    check_bases(settings)  # before texts are made or read, which takes a minute or more
    tell = timed_lines()
    given = _given_texts(data, valid, columns, seed, tell)
    settings = replace(settings, label_names=settings.label_names or given.label_names)
    check_known_labels(settings.label_names, given.train)
    ensemble = train_ensemble(settings, given.train, given.valid, folder=folder, progress=tell)
    record = _evaluated(ensemble, given, tell)
    keep_in_folder(ensemble, record)
    print_evaluation(record)
    print(
        f"\nensemble: {folder}\ncard:     {folder / 'MODEL_CARD.md'}\n"
        f'next:     ivme ensemble predict {folder} "TEXT"'
    )


def _given_texts(
    data: Path | None,
    valid: Path | None,
    columns: "Mapping[str, str | None]",
    seed: int,
    tell: Tell,
) -> _Given:
    """Return the texts of the files, a part of --data held out without --valid; or the demo's."""
    from ivme.ensemble.labeled_texts import check_labels, hold_out, without_texts_of
    from ivme.ensemble.text_table import LABEL_COLUMN, TEXT_COLUMN, read_table
    from ivme.ensemble.train import MOST_HELD_OUT, EnsembleSettings

    if data is None:
        return _demo(seed, tell)
    tell(f"Reading {data}...")
    names = {
        "text_column": columns["text"] or TEXT_COLUMN,
        "label_column": columns["label"] or LABEL_COLUMN,
    }
    texts = read_table(data, **names, group_column=columns["group"])
    check_labels(texts, None)
    if valid is not None:
        judged = read_table(valid, **names)
        kept = without_texts_of(judged, texts)
        if len(kept) < len(judged):
            tell(f"Left out {len(judged) - len(kept)} validation texts that are in {data} too")
        return _Given(train=texts, valid=kept)
    share = EnsembleSettings().held_out_share
    texts, held = hold_out(texts, share, seed=seed, most=MOST_HELD_OUT)
    tell(f"Held out {len(held):,} of {len(texts) + len(held):,} texts to validate on")
    return _Given(train=texts, valid=held)


def _demo(seed: int, tell: Tell) -> _Given:
    from ivme.ensemble.demo_texts import LABEL_NAMES, demo_texts

    tell("No --data: a demo, on texts made here")
    demo = demo_texts(seed, progress=tell)
    return _Given(
        train=demo.train,
        valid=demo.valid,
        valid_domains=demo.valid_domains,
        label_names=LABEL_NAMES,
        notes=(DEMO_NOTE, VALID_NOTE),
    )


def _settings(
    members: str | None,
    bases: "Mapping[str, str | None]",
    *,
    language_models: "Sequence[str]",
    trainer: str,
    h2o_url: str | None,
    budget_s: float | None,
    search_s: float | None,
    threads: int,
    label_names: "Mapping[str, str]",
    least_words: int,
    seed: int,
) -> "EnsembleSettings":
    from ivme.ensemble.frozen_lm_training import FrozenLMSettings
    from ivme.ensemble.train import MEMBERS, EnsembleSettings
    from ivme.ensemble.trainers.settings import H2OPlace, MemberSettings
    from ivme.ensemble.training import TRAINERS, TabularSettings
    from ivme.ensemble.transformer_plan import PlanSettings
    from ivme.ensemble.transformer_settings import TransformerSettings
    from ivme.errors import UsageError

    chosen = MEMBERS if members is None else split_names(members)
    for name, base in bases.items():
        if base is not None and name not in chosen:
            raise UsageError(f"--{name.lower()} {base}, but --members {members} leaves {name} out")
    if trainer not in TRAINERS:
        raise UsageError(f"--trainer {trainer}; expected one of {', '.join(TRAINERS)}")
    if h2o_url is not None and trainer != "h2o":
        raise UsageError(f"--h2o-url {h2o_url} belongs to --trainer h2o; give both, or neither")
    transformers = [name for name in bases if name in chosen]
    if not transformers:
        refuse_without("the members BERT and RoBERTa", {"--budget": budget_s})
    if not transformers and not language_models:
        refuse_without("transformers", {"--search": search_s})
    share = None if budget_s is None or not transformers else budget_s / len(transformers)
    return EnsembleSettings(
        members=chosen,
        trainer=trainer,
        tabular=TabularSettings(
            sizes=MemberSettings(seed=seed, threads=threads),
            h2o=H2OPlace(url=h2o_url, threads=threads),
        ),
        transformers={
            name: TransformerSettings(base=bases[name], budget_s=share, seed=seed, threads=threads)
            for name in transformers
        },
        language_models=tuple(
            FrozenLMSettings(base=base, seed=seed, threads=threads) for base in language_models
        ),
        plans=PlanSettings(
            search_s=search_s,
            threads=plan_threads(len(transformers) + len(language_models), threads),
            seed=seed,
        ),
        label_names=label_names,
        least_words=least_words,
        seed=seed,
    )


def _evaluated(ensemble: "EnsembleFolder", given: _Given, tell: Tell) -> "Record":
    """Return the record of how good the ensemble is on the validation texts."""
    from ivme.ensemble.evaluation import evaluate
    from ivme.ensemble.evaluation_record import evaluation_record

    evaluation = evaluate(ensemble, given.valid, given.valid_domains, progress=tell)
    return evaluation_record(
        evaluation, command=("ivme", *sys.argv[1:]), settings={}, notes=given.notes
    )


def plan_threads(transformers: int, threads: int) -> int:
    """Return the threads that each plan is made for: those it runs on, beside the others."""
    from ivme.ensemble.running import place

    return place(transformers, threads, None).threads


def all_threads() -> int:
    """Return the threads that a command uses unless told otherwise: one a core."""
    from ivme.hardware.inventory import read_inventory
    from ivme.hardware.threads import default_threads

    return default_threads(read_inventory())
