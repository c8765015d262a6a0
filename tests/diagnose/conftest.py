"""Training steps as users write them, small, each in a file of its own."""

import textwrap
from pathlib import Path

import pytest

from ivme.diagnose.step_process import StepProcess, process_context
from ivme.diagnose.targets import FILE, Target

SOUND = """
import torch

def make_step(batch_size=4, sequence_length=16, dtype="float32"):
    model = torch.nn.Sequential(
        torch.nn.Embedding(50, 32),
        torch.nn.Linear(32, 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 50),
    )
    optimizer = torch.optim.AdamW(model.parameters())
    kept = []

    def step():
        tokens = torch.randint(0, 50, (batch_size, sequence_length))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(tokens)
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        # after
    return step
"""


@pytest.fixture
def write_step(tmp_path):
    """Return a function that writes a Python file and returns its path."""

    def write(text: str = SOUND, *, after: str = "pass") -> Path:
        path = tmp_path / "train_step.py"
        path.write_text(textwrap.dedent(text).replace("# after", after))
        return path

    return write


@pytest.fixture
def start():
    """Return a function that starts a process for the step of a file; all end with the test."""
    started = []

    def begin(path: Path) -> StepProcess:
        target = Target(kind=FILE, reference=str(path))
        started.append(StepProcess(target, process_context()))
        return started[-1]

    yield begin
    for process in started:
        process.close()
