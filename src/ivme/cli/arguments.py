"""How arguments that several commands share are read."""

from collections.abc import Mapping
from typing import Annotated

import typer

from ivme.errors import UsageError

TextColumn = Annotated[str | None, typer.Option(help='Column with the texts; "text" unless given.')]
LabelColumn = Annotated[
    str | None, typer.Option(help='Column with the labels; "label" unless given.')
]


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, as in "transformers,pipeline"."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"{text!r} names nothing; give one name, or several with commas between")
    return names


def refuse_without(owner: str, options: Mapping[str, object]) -> None:
    """Raise UsageError for the first option that was given: without its owner it does nothing."""
    for option, value in options.items():
        if value is not None and value is not False:
            raise UsageError(f"{option} belongs to {owner}; give both, or leave {option} out")


def split_counts(text: str, option: str) -> tuple[int, ...]:
    """Return the whole numbers of a comma-separated list, as in "1,8,32"."""
    try:
        return tuple(int(name) for name in split_names(text))
    except ValueError as error:
        raise UsageError(
            f"{option} {text}: expected whole numbers with commas between, as in 1,8,32"
        ) from error
