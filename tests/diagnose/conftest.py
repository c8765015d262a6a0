"""Training steps as users write them, small, each in a file of its own."""

import random
import textwrap
from pathlib import Path

import pytest

from ivme.diagnose import sweep
from ivme.diagnose.settings import StepSettings
from ivme.diagnose.step_process import STEP_LIMIT, StepProcess, process_context
from ivme.diagnose.targets import FILE, MODEL, Target
from ivme.errors import IvmeError, OutOfMemoryError


class FakeClock:
    """A clock that only processes move."""

    def __init__(self):
        self.now_s = 0.0

    def now(self):
        return self.now_s

    def rest(self):
        pass


class FakeProcess:
    """A process whose steps take `step_s` for 1,024 tokens, half of it in bfloat16."""

    has_run = False
    clock: FakeClock
    draw: random.Random
    step_s: float
    noise: float  # of the seconds, as a share
    largest: int  # batch size that fits into memory, of one process and of all together
    compile_s: float  # of a first step that compiles
    present: list  # all processes that were not closed

    def __init__(self, target, context):
        self.settings = None
        self.present.append(self)

    def request(self, name, limit_s, limit_option=STEP_LIMIT, **arguments):
        if name == "build":
            self.settings = StepSettings(**arguments["settings"])
            built = [one.settings for one in self.present if one.settings is not None]
            if sum(one.batch_size for one in built) > self.largest:
                raise OutOfMemoryError("out of memory: no more")
            return {"tokens": self.tokens, "items": self.settings.batch_size, "notes": []}
        if name == "memory":
            return {"peak_bytes": 1_000_000}
        seconds = self.step_s * self.tokens / 1024 / (1 + (self.settings.dtype == "bfloat16"))
        taken = [seconds * (1 + self.noise * self.draw.random()) for _ in range(arguments["steps"])]
        if self.settings.compile and not self.has_run:
            taken[0] = self.compile_s
        self.has_run = True
        self.clock.now_s += sum(taken)
        if sum(taken) > limit_s:
            raise IvmeError(f"no step ended within {limit_s:.0f} s; raise {limit_option}")
        return {"seconds": taken, "processor_s": taken}

    @property
    def tokens(self):
        one = self.settings
        return one.batch_size * one.sequence_length * one.accumulation

    def close(self):
        self.present.remove(self)


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


@pytest.fixture
def make_sweep(monkeypatch):
    """Return a function that makes a sweep over steps that take no time, and its clock."""

    def make(step_s, *, noise=0.0, largest=1000, compile_s=0.0, compiling_s=0.0):
        clock = FakeClock()
        attributes = {
            "clock": clock,
            "draw": random.Random(0),
            "step_s": step_s,
            "noise": noise,
            "largest": largest,
            "compile_s": compile_s,
            "present": [],
        }
        monkeypatch.setattr(sweep, "StepProcess", type("Process", (FakeProcess,), attributes))
        target = Target(kind=MODEL, reference="model")
        made = sweep.Sweep(
            target,
            None,
            step_limit_s=60.0,
            compiling_s=compiling_s,
            seed=0,
            tell=lambda text: None,
            clock=clock,
        )
        return made, clock

    return make
