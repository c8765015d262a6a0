"""Command lines of the scripts: flags from a dataclass, and errors as one line and a status."""

import argparse
import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mm_rec.errors import ConfigError, DataError, MMRecError

WRONG_USE, FAILED = 2, 1


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line; flags cannot be shortened, so that none is mistaken."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the message, and leave with the status of wrong use."""
        print(f"{self.prog}: {message}; --help lists what is allowed", file=sys.stderr)
        sys.exit(WRONG_USE)


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give the parser a flag for each field of a dataclass, with the field's help.

    Flags that are not given are left out of what is parsed: the default is the dataclass's.
    """
    types_by_name = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        value_type = _plain_type(types_by_name[field.name])
        help_text = field.metadata["help"].replace("%", "%%")
        if field.default is not None and field.default != "":
            help_text += f" (default: {field.default})"
        settings: dict[str, Any] = {"help": help_text, "default": argparse.SUPPRESS}
        if value_type is bool:
            parser.add_argument(
                f"--{field.name}", action=argparse.BooleanOptionalAction, **settings
            )
            continue
        if field.metadata["choices"]:
            settings["choices"] = field.metadata["choices"]
        else:
            settings["metavar"] = {int: "N", float: "X", str: "TEXT"}[value_type]
        parser.add_argument(f"--{field.name}", type=value_type, **settings)


def _plain_type(annotation: Any) -> type:
    """Return the type without None."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (one for one in typing.get_args(annotation) if one is not type(None))
    plain: type = annotation
    return plain


def end_with_status(
    run: Callable[[Sequence[str]], int | None], name: str, arguments: Sequence[str] | None = None
) -> NoReturn:
    """Run a script's main function and leave: errors of ours become one line and a status."""
    try:
        status = run(sys.argv[1:] if arguments is None else arguments) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        status = FAILED
    except (MMRecError, OSError) as error:
        print(f"{name}: {_one_line(error)}", file=sys.stderr)
        status = WRONG_USE if isinstance(error, ConfigError | DataError) else FAILED
    sys.exit(status)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
