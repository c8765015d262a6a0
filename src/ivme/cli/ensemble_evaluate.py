"""`ivme ensemble evaluate`: how good an ensemble is on labeled texts, and printing of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ivme.cli.arguments import LabelColumn, TextColumn, refuse_without
from ivme.cli.ensemble_progress import changing_line
from ivme.cli.handing_over import check_writable, show_and_keep
from ivme.cli.printing import notices, print_table, results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ivme.ensemble.ensemble_folder import EnsembleFolder
    from ivme.ensemble.labeled_texts import LabeledTexts
    from ivme.measure.records import Record

DEMO_NOTE = (
    "A demo: the texts are Python's documentation, and what small models trained on it wrote. "
    "Figures on them say nothing of what people and large models write."
)
STRANGE_NOTE = (
    "The ensemble was not trained on the texts of this demo, but on {source}. Give texts of the "
    "kind that it is for with --data."
)


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder that `ivme ensemble train` wrote.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Labeled texts: .csv, .tsv or .jsonl; those of the demo unless given."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    domain_column: Annotated[
        str | None, typer.Option(help="Column with kinds of texts, to be told apart.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="The label to be found; the first one unless given.")
    ] = None,
    card: Annotated[
        bool,
        typer.Option("--card", help="Write the figures into the folder's model card too."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; as the plans say unless given.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")
    ] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the record to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record alone, as JSON.")] = False,
) -> None:
    """Judge an ensemble and each of its members on labeled texts.

    AUROC, accuracy, true positives at the thresholds that were fixed in training, calibration; by
    domain and by length, with intervals.
    """
    from ivme.ensemble.ensemble_folder import EnsembleFolder
    from ivme.ensemble.evaluation import evaluate as judge
    from ivme.ensemble.evaluation_record import evaluation_record

    columns = {"text": text_column, "label": label_column, "domain": domain_column}
    if data is None:
        refuse_without("--data", {f"--{name}-column": one for name, one in columns.items()})
    check_writable(output, data)
    with changing_line() as tell:
        ensemble = EnsembleFolder.read(folder)
        _check_not_of_ensemble(output, ensemble)
        texts, domains, notes = _texts(ensemble, data, columns, tell)
        evaluation = judge(
            ensemble,
            texts,
            domains,
            positive=positive,
            threads=threads,
            device=device,
            progress=tell,
        )
    record = evaluation_record(
        evaluation,
        command=("ivme", *sys.argv[1:]),
        settings={"folder": str(folder), "threads": threads, "device": device},
        notes=notes,
    )
    show_and_keep(record, output, lambda: print_evaluation(record), as_json=json)
    if card:
        keep_in_folder(ensemble, record)
        notices().print(f"wrote the model card of {folder}", markup=False)


def _check_not_of_ensemble(output: Path | None, ensemble: "EnsembleFolder") -> None:
    """Raise UsageError, before any work, if a record there would make the ensemble unreadable."""
    from ivme.ensemble.folder import MANIFEST
    from ivme.errors import UsageError

    bound = [(ensemble.path / name).resolve() for name in (MANIFEST, *ensemble.files)]
    if output is not None and output.resolve() in bound:
        raise UsageError(
            f"cannot write {output}: it is part of the ensemble; name another file, or give --card "
            "instead, which keeps the record in the ensemble's folder"
        )


def _texts(
    ensemble: "EnsembleFolder",
    data: Path | None,
    columns: "Mapping[str, str | None]",
    progress: "Callable[[str], None]",
) -> "tuple[LabeledTexts, tuple[str, ...] | None, tuple[str, ...]]":
    """Return texts, domains and what to say of them: from the file, or those of the demo."""
    from ivme.ensemble.text_table import LABEL_COLUMN, TEXT_COLUMN, read_domains, read_table

    if data is None:
        return _demo(ensemble.training, progress)
    progress(f"Reading {data}...")
    domains, text_column = None, columns["text"] or TEXT_COLUMN
    texts = read_table(data, text_column=text_column, label_column=columns["label"] or LABEL_COLUMN)
    if columns["domain"] is not None:
        domains = read_domains(data, columns["domain"], text_column=text_column)
    return texts, domains, ()


def _demo(
    training: "Mapping[str, Any]", progress: "Callable[[str], None]"
) -> "tuple[LabeledTexts, tuple[str, ...], tuple[str, ...]]":
    """Return the texts that a demo of the ensemble's own seed was not trained on."""
    from ivme.ensemble.demo_texts import demo_texts
    from ivme.ensemble.train import text_counts

    demo = demo_texts(training.get("seed", 0), progress=progress)
    trained_on = training.get("train", {})
    notes = [DEMO_NOTE]
    if trained_on != text_counts(demo.train):
        notes.append(STRANGE_NOTE.format(source=trained_on.get("source", "others")))
    return demo.valid, demo.valid_domains, tuple(notes)


def keep_in_folder(ensemble: object, record: "Record") -> None:
    """Write the record and the model card that follows from it into the ensemble's folder."""
    import json

    from ivme.ensemble.ensemble_folder import EnsembleFolder
    from ivme.ensemble.model_card import model_card
    from ivme.measure.records import record_to_json

    assert isinstance(ensemble, EnsembleFolder)
    ensemble.write_reports(
        evaluation=json.loads(record_to_json(record)), card=model_card(ensemble, record)
    )


def print_evaluation(record: "Record") -> None:
    """Print what an evaluation found."""
    from ivme.report.document import Paragraph
    from ivme.report.sections.ensemble import (
        domain_table,
        ensemble_findings,
        judge_table,
        length_table,
    )

    console = results()
    for build in (judge_table, domain_table, length_table):
        table = build(record)
        if table is not None:
            print_table(console, table)
    console.print()
    for block in ensemble_findings(record):
        assert isinstance(block, Paragraph)
        console.print(block.text, markup=False)
    for note in record.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
