"""The command line as a program calls it, in this process: importing torch again takes seconds."""

import sys
from dataclasses import dataclass

import pytest

from ivme.hardware import ceilings_cache
from ivme.hardware.ceilings import CeilingPlan

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command leaves behind."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def ivme(monkeypatch, capsys):
    """Return a function that runs `ivme` on a terminal of 80 columns and a tiny machine."""
    from ivme.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(ceilings_cache, "QUICK_PLAN", TINY_PLAN)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ivme", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Outcome(status=exit_.value.code or 0, stdout=captured.out, stderr=captured.err)

    return run
