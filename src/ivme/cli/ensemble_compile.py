"""`ivme ensemble compile`: members from elsewhere, and plans for the machine at hand."""

from pathlib import Path
from typing import Annotated

import typer

from ivme.cli.arguments import LabelColumn, TextColumn, refuse_without
from ivme.cli.ensemble_progress import timed_lines


def compile_members(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder that `ivme ensemble train` wrote.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled texts that were not trained on: transformers get new plans for this "
            "machine, judged on them, and thresholds and stacking are fitted to them."
        ),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    mojo: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ZIP", help="Take this MOJO as DRF, GBM or GLM; may repeat."),
    ] = None,
    h2o_model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=KEY", help="Take this model of --h2o-url; may repeat."),
    ] = None,
    h2o_url: Annotated[str | None, typer.Option(help="A running H2O cluster.")] = None,
    search: Annotated[
        float | None,
        typer.Option(
            help="Seconds to search for each transformer's fastest plan; else a few ways."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads, which the plans share; one a core unless given."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write it there; over FOLDER unless given."
        ),
    ] = None,
) -> None:
    """Compile an ensemble anew, for this machine or from H2O.

    Scoring needs neither H2O nor Java: trees and coefficients are read once, and compiled.
    """
    from ivme.cli.ensemble_train import all_threads, plan_threads
    from ivme.ensemble.compiling import CompileJob, compile_ensemble
    from ivme.ensemble.ensemble_folder import TABULAR, EnsembleFolder
    from ivme.ensemble.text_table import LABEL_COLUMN, TEXT_COLUMN, read_table
    from ivme.ensemble.transformer_plan import PlanSettings

    if data is None:
        columns = {"--text-column": text_column, "--label-column": label_column}
        refuse_without("--data", {**columns, "--search": search, "--threads": threads})
    if not h2o_model:
        refuse_without("--h2o-model", {"--h2o-url": h2o_url})
    groups = EnsembleFolder.read(folder, verify=False).groups
    transformers = sum(group.kind != TABULAR for group in groups)
    names = {
        "text_column": text_column or TEXT_COLUMN,
        "label_column": label_column or LABEL_COLUMN,
    }
    job = CompileJob(
        mojos={name: Path(path) for name, path in _pairs(mojo, "--mojo").items()},
        h2o_models=_pairs(h2o_model, "--h2o-model"),
        h2o_url=h2o_url,
        data=None if data is None else read_table(data, **names),
        plans=PlanSettings(
            search_s=search, threads=plan_threads(transformers, threads or all_threads())
        ),
    )
    target = output or folder
    compiled = compile_ensemble(folder, target, job, timed_lines())
    print(f"wrote {target}: {', '.join(compiled.member_names)}")
    print(f"next: ivme ensemble evaluate {target} --data FILE --card")


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Return what "NAME=VALUE" says, several times over."""
    from ivme.errors import UsageError

    pairs: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator or not name or not value or name in pairs:
            raise UsageError(f"{option} {text}: expected NAME=..., each name once, as in DRF=...")
        pairs[name] = value
    return pairs
