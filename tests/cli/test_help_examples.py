import shlex

import pytest
import typer

from ivme.cli.help_examples import EXAMPLES, examples_of
from ivme.cli.main import app

COMMANDS = typer.main.get_command(app)


def command_of(words: list[str]):
    """Return the command that the words begin with, and the words behind its name."""
    command = COMMANDS
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_is_a_command_line_that_is_understood(line):
    program, *words = shlex.split(line)
    assert program == "ivme"
    command, rest = command_of(words)
    command.make_context(line, rest)  # fails on options and arguments that are not there


def test_every_command_has_examples_in_80_columns(ivme):
    names = [name for name in COMMANDS.commands if name != "ensemble"]
    names += [f"ensemble {name}" for name in COMMANDS.commands["ensemble"].commands]
    assert set(names) == set(EXAMPLES)
    for name in names:
        outcome = ivme(*name.split(), "--help")
        assert EXAMPLES[name][-1] in outcome.stdout
        assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_a_command_without_examples_has_none_in_its_help():
    assert examples_of("no such command") is None
