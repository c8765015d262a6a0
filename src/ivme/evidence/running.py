"""Running the command of a claim: a process of its own, with a time limit, and its record."""

import ast
import contextlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ivme
from ivme.errors import IvmeError, UsageError
from ivme.evidence.ledger import RECORD_PLACE, Command

# The command `ivme` of this very Python, wherever its script may lie.
IVME = ("-c", "from ivme.cli.main import main; main()")
WAIT_FOR_END_S = 10.0
MARK = Path("benchmarks", "claims.py")  # what a checkout of the project has
EXPERIMENTS = "EXPERIMENTS"  # the dict in it whose keys are the names that it takes


def checkout_folder() -> Path:
    """Return the checkout whose benchmarks the commands run: this folder's, or the package's.

    Raises UsageError where ivme was installed without its benchmarks.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(ivme.__file__).parents[2]):
        if (folder / MARK).is_file():
            return folder
    raise UsageError(
        f"{here} is no checkout of the project: there is no {MARK}, which measures the claims; "
        "run `ivme claims` in a checkout"
    )


def find_fault(command: Command, root: Path) -> str | None:
    """Return why the command cannot even start, None if it can."""
    words = shlex.split(command.line)
    if words[0] == "ivme":
        return None
    if words[0] != "python" or len(words) < 3:
        return f"`{command.line}` begins with neither ivme nor python"
    if words[1] == "-m":
        try:
            is_there = importlib.util.find_spec(words[2]) is not None
        except ModuleNotFoundError:
            is_there = False
        return None if is_there else f"the module {words[2]} is gone"
    program = root / words[1]
    if not program.is_file():
        return f"the file {words[1]} is gone"
    if program == root / MARK:
        experiments = experiments_of(program)
        if experiments and words[2] not in experiments:
            return f"{words[1]} has no experiment {words[2]}"
    return None


def experiments_of(program: Path) -> tuple[str, ...]:
    """Return the names that a program takes, from its text: importing it would load torch."""
    for node in ast.parse(program.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == EXPERIMENTS:
            return tuple(ast.literal_eval(node.value))
    return ()


def run_command(command: Command, folder: Path, root: Path) -> dict[str, Any]:
    """Run a command in the checkout and return the content of its record.

    folder: where the record and what the command printed are kept.

    Raises IvmeError, with the command's last words, if it is gone, fails, takes too long or writes
    no record.
    """
    fault = find_fault(command, root)
    if fault is not None:
        raise IvmeError(fault)
    folder.mkdir(parents=True, exist_ok=True)
    record, log = (folder.absolute() / f"{command.name}.{end}" for end in ("json", "log"))
    record.unlink(missing_ok=True)
    with log.open("wb") as output:
        status = _wait(command, _arguments(command, record), root, output.fileno())
    if status is None:
        raise IvmeError(f"`{command.shown}` took longer than {command.limit_s:g} s; see {log}")
    if status != 0:
        last = _last_line(log)
        raise IvmeError(f"`{command.shown}` ended with exit status {status}: {last}; see {log}")
    try:
        content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IvmeError(f"`{command.shown}` wrote no record that can be read; see {log}") from error
    return content


def _arguments(command: Command, record: Path) -> list[str]:
    first, *rest = shlex.split(command.line)
    words = [sys.executable, *(IVME if first == "ivme" else ()), *rest]
    return [str(record) if word == RECORD_PLACE else word for word in words]


def _wait(command: Command, arguments: Sequence[str], root: Path, output: int) -> int | None:
    """Return the exit status; None after the limit, when the process and its own are ended."""
    process = subprocess.Popen(
        arguments,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that what it starts can be ended with it
    )
    try:
        return process.wait(command.limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:  # too long, or interrupted
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(WAIT_FOR_END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else "it said nothing"
