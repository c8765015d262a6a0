"""`ivme ensemble`: train, compile, evaluate and use classifiers that vote on a text."""

import typer

from ivme.cli.ensemble_compile import compile_members
from ivme.cli.ensemble_evaluate import evaluate
from ivme.cli.ensemble_predict import predict
from ivme.cli.ensemble_train import train

ensemble = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
ensemble.command()(train)
ensemble.command(name="compile")(compile_members)
ensemble.command()(evaluate)
ensemble.command()(predict)


@ensemble.callback()
def about() -> None:
    """Train and use an ensemble of text classifiers, such as one that tells human from AI text.

    Without data of your own the commands run on the texts of a demo.
    """
