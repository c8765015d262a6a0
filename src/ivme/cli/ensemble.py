"""`ivme ensemble`: train, compile, evaluate and use classifiers that vote on a text."""

from collections.abc import Callable

import typer

from ivme.cli.ensemble_compile import compile_members
from ivme.cli.ensemble_evaluate import evaluate
from ivme.cli.ensemble_predict import predict
from ivme.cli.ensemble_train import train
from ivme.cli.help_examples import examples_of

ensemble = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "compile": compile_members,
    "evaluate": evaluate,
    "predict": predict,
}
for name, command in COMMANDS.items():
    ensemble.command(name=name, epilog=examples_of(f"ensemble {name}"))(command)


@ensemble.callback()
def about() -> None:
    """Train and use classifiers that vote on a text.

    Such as five that tell human from AI text. Without data of your own the commands run on the
    texts of a demo.
    """
