import errno
import subprocess
import sys
from pathlib import Path

import pytest

import ivme as package
from ivme.evidence import ledger

COMMANDS = ("doctor", "bench", "compare", "report", "demo")
HEAVY = ("torch", "transformers", "numpy", "matplotlib", "rich", "psutil", "tokenizers")


def test_help_lists_the_commands_and_brings_no_heavy_library():
    code = (
        "import sys; sys.argv = ['ivme', '--help']\n"
        "from ivme.cli.main import main\n"
        "try: main()\n"
        f"finally: print('brought:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "brought: []"
    listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


def test_the_version_is_that_of_the_package(ivme):
    outcome = ivme("--version")
    assert (outcome.status, outcome.stdout) == (0, f"ivme {package.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_in_80_columns(ivme, command):
    outcome = ivme(command, "--help")
    assert outcome.status == 0
    assert outcome.stdout.startswith(f"Usage: ivme {command}")
    assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_a_command_that_is_not_there_is_wrong_use(ivme):
    outcome = ivme("brench")
    assert outcome.status == 2
    assert "No such command 'brench'" in outcome.stderr
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (KeyboardInterrupt(), "ivme: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/small/file"),
            "ivme: /small/file: No space left on device; make room, or name another place\n",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "/home/.cache"),
            "ivme: /home/.cache: Permission denied; set IVME_CACHE_DIR to a folder that you may "
            "write\n",
        ),
    ],
)
def test_what_no_command_foresees_is_one_line_and_a_status(ivme, monkeypatch, raised, message):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(ledger, "read_ledger", fail)
    monkeypatch.setenv("IVME_CACHE_DIR", "/home/.cache/ivme")
    outcome = ivme("claims", "--list")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (1, "", message)


def test_a_mistake_of_ours_is_not_taken_for_a_full_disk(ivme, monkeypatch):
    monkeypatch.setattr(ledger, "read_ledger", lambda: Path("no such file").read_text())
    with pytest.raises(FileNotFoundError):
        ivme("claims", "--list")
