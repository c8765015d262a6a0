"""`ivme ensemble`: train, compile, evaluate and use classifiers that vote on a text."""

import typer

from ivme.cli.ensemble_evaluate import evaluate
from ivme.cli.ensemble_predict import predict

ensemble = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for command in (evaluate, predict):
    ensemble.command()(command)


@ensemble.callback()
def about() -> None:
    """Train and use an ensemble of text classifiers, such as one that tells human from AI text.

    Without data of your own the commands run on the texts of a demo.
    """
