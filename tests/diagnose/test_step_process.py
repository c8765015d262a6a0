import fcntl

import pytest

from ivme.diagnose import child
from ivme.diagnose.settings import StepSettings
from ivme.errors import DeviceError, IvmeError, OutOfMemoryError, UsageError

SETTINGS = StepSettings(batch_size=2, sequence_length=8).as_dict()


def test_a_step_runs_in_a_process_of_its_own(start, write_step):
    process = start(write_step())
    outline = process.request("outline", 60)
    assert outline["defaults"] == {"batch_size": 4, "sequence_length": 16, "dtype": "float32"}
    built = process.request("build", 60, settings=SETTINGS)
    assert (built["tokens"], built["items"]) == (16, 2)
    assert len(process.request("run", 60, steps=3)["seconds"]) == 3
    assert process.request("memory", 60)["peak_bytes"] > 0


def test_what_a_step_raises_is_told_with_its_line(start, write_step):
    process = start(write_step(after="raise ValueError('no more data')"))
    process.request("build", 60, settings=SETTINGS)
    with pytest.raises(
        IvmeError, match=r"train_step.py, line \d+, in step\(\): ValueError: no more"
    ):
        process.request("run", 60, steps=1)


def test_a_hanging_step_is_ended_and_says_where_it_hangs(start, write_step):
    process = start(write_step(after="import time; time.sleep(1000)"))
    process.request("build", 60, settings=SETTINGS)
    with pytest.raises(IvmeError, match=r"within 1 s \(it is in step\(\), train_step.py, line 22"):
        process.request("run", 1, steps=1)


def test_a_time_limit_names_the_option_that_raises_it(start, write_step):
    path = write_step(after="import time; time.sleep(1000)")
    for option, arguments in (("--step-limit", {}), ("--budget", {"limit_option": "--budget"})):
        process = start(path)
        process.request("build", 60, settings=SETTINGS)
        with pytest.raises(IvmeError, match=f"mend it, or raise {option} if it is that slow"):
            process.request("run", 1, steps=1, **arguments)


def test_a_limit_of_years_is_none_too_long(start, write_step):
    assert start(write_step()).request("outline", 1e9)["name"] == "train_step.py"


def test_a_step_that_needs_a_gpu_is_named(start, write_step):
    process = start(write_step("import torch\ndef make_step():\n    torch.zeros(1).cuda()\n"))
    with pytest.raises(DeviceError, match=r"line 3, in make_step.*needs a GPU, and this machine"):
        process.request("build", 60, settings=SETTINGS)


def test_a_step_that_takes_all_memory_fails_and_nothing_else_does(start, write_step):
    process = start(write_step(after="torch.zeros(1 << 50)"))
    process.request("build", 60, settings=SETTINGS)
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        process.request("run", 60, steps=1)


def test_a_step_that_ends_its_process_is_told_with_what_it_said_last(start, write_step):
    process = start(write_step(after="print('bye'); import os; os._exit(3)"))
    process.request("build", 60, settings=SETTINGS)
    with pytest.raises(IvmeError, match="exit status 3; its last line of output: bye"):
        process.request("run", 60, steps=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make_step(:", "line 1: not valid Python"),
        ("def build(): pass", r"has no make_step\(\).*it offers build"),
        ("def make_step(): return 3", r"make_step\(\) returned int; expected a callable"),
    ],
)
def test_files_without_a_step_are_wrong_use(start, write_step, text, message):
    process = start(write_step(text))
    with pytest.raises(UsageError, match=message):
        process.request("build", 60, settings=SETTINGS)


def test_an_object_with_phases_is_run_phase_by_phase(start, write_step):
    process = start(
        write_step(
            """
            import torch

            class Steps:
                tokens_per_step = 7
                def data(self): return torch.rand(4, requires_grad=True)
                def forward(self, batch): return batch.sum()
                def backward(self, loss): loss.backward()
                def optimizer(self): pass

            def make_step(): return Steps()
            """
        )
    )
    assert process.request("build", 60, settings=SETTINGS)["tokens"] == 7
    seconds = process.request("phases", 60, steps=2, has_warm_up=True)["seconds"]
    assert all(seconds[name][0] > 0 for name in ("data", "forward", "backward", "optimizer"))


def test_what_a_dead_step_started_ends_with_it(start, write_step, tmp_path):
    """A lock that a worker of the step holds is free once the worker has ended."""
    lock = tmp_path / "lock"
    worker = (
        f"import fcntl, time; file = open({str(lock)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); time.sleep(60)"
    )
    process = start(
        write_step(
            after="import os, subprocess, sys; "
            f"p = subprocess.Popen([sys.executable, '-c', {worker!r}], stdout=subprocess.PIPE); "
            "p.stdout.readline(); os._exit(3)"
        )
    )
    process.request("build", 60, settings=SETTINGS)
    with pytest.raises(IvmeError, match="ended its process with exit status 3"):
        process.request("run", 60, steps=1)
    process.close()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def test_a_process_that_begins_after_its_command_has_ended_does_nothing(tmp_path):
    assert child.serve(None, None, str(tmp_path / "gone" / "log.txt")) is None
