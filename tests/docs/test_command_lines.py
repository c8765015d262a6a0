"""Every command line in the documents names commands, options and programs that are there."""

import importlib
import re
import shlex

import pytest
import typer

from ivme.cli.main import app
from ivme.evidence.running import checkout_folder
from mm_rec.scripts.arguments import OneLineParser, add_flags

ROOT = checkout_folder()
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "deploy/*.md", "docs/guides/*.md", "docs/measurements/*.md")
    for path in ROOT.glob(pattern)
)
SCRIPTS = {  # each with the dataclass that its flags are the fields of
    "pretrain": "TrainingConfig",
    "generate": "GenerateConfig",
    "evaluate": "EvaluateConfig",
    "train_uboo_test": "UbooTestConfig",
}
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?(?:.*\| )?(ivme .+)", re.MULTILINE)
IN_A_SENTENCE = re.compile(r"`(ivme [a-z][^`]*)`")
SCRIPT = re.compile(r"-m mm_rec\.scripts\.(\w+)([^|`\n]*)")
PROGRAM = re.compile(r"python (\S+/\w+\.py)([^|`\n]*)")


def read(document):
    return (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")


def commands_in_blocks(document):
    """Return the words behind `ivme` of each line of a block that is a whole command."""
    lines = [line for block in BLOCK.findall(read(document)) for line in COMMAND.findall(block)]
    found = [shlex.split(line, comments=True)[1:] for line in lines]
    return [words for words in found if "..." not in words]


def find_command(words):
    """Return the command that the words begin with, and the words behind its name."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name.partition("|")[0]]
    return command, words


def options_of(command):
    return {"--help", *(name for one in command.params for name in one.opts)}


def flags_in(text):
    return {word.partition("=")[0] for word in text.split() if re.match(r"--?[a-zA-Z]", word)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_command_in_a_block_is_understood_as_it_stands(document):
    for words in commands_in_blocks(document):
        command, rest = find_command(words)
        command.make_context(shlex.join(words), rest)  # fails on what is not there, or missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_command_in_a_sentence_has_the_options_that_it_names(document):
    for text in IN_A_SENTENCE.findall(read(document)):
        command, _ = find_command(text.split()[1:])
        assert flags_in(text) <= options_of(command), text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_script_takes_the_flags_that_it_is_given(document):
    for name, rest in SCRIPT.findall(read(document)):
        module = importlib.import_module(f"mm_rec.scripts.{name}")
        if name in SCRIPTS:
            parser = OneLineParser()
            add_flags(parser, getattr(module, SCRIPTS[name]))
            parser.parse_args(shlex.split(rest, comments=True))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_program_is_there_and_knows_its_flags(document):
    for name, rest in PROGRAM.findall(read(document)):
        source = (ROOT / name).read_text(encoding="utf-8")
        assert [flag for flag in flags_in(rest) if f'"{flag}"' not in source] == [], name


def test_the_documents_hold_command_lines_of_every_kind():
    commands = [words for document in DOCUMENTS for words in commands_in_blocks(document)]
    assert {"bench", "tune", "predict", "ensemble", "serve"} <= {words[0] for words in commands}
    texts = "".join(map(read, DOCUMENTS))
    assert set(SCRIPTS) <= {name for name, _ in SCRIPT.findall(texts)}
    assert len(IN_A_SENTENCE.findall(texts)) > 20
    assert len(PROGRAM.findall(texts)) > 10
