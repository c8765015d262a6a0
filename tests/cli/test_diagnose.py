import pytest

from ivme.diagnose import ceilings_here
from ivme.measure.records import load_record

QUICK = ("--quick", "--budget", 3, "--threads", 1)
STEP = """
import torch

def make_step(batch_size=2):
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters())

    def step():
        model(torch.rand(batch_size, 8)).sum().backward()
        optimizer.step()

    return step
"""


@pytest.fixture(autouse=True)
def tiny_ceilings(ivme, monkeypatch):
    from ivme.hardware import ceilings_cache  # that `ivme` made tiny

    monkeypatch.setattr(ceilings_here, "QUICK_PLAN", ceilings_cache.QUICK_PLAN)


def test_it_says_who_is_to_blame_and_writes_a_record(ivme, tmp_path):
    (tmp_path / "step.py").write_text(STEP)
    record = tmp_path / "diagnose.json"
    outcome = ivme("diagnose", tmp_path / "step.py", *QUICK, "-o", record)
    assert outcome.status == 0
    assert "Phases of a step" in outcome.stdout
    assert "Who is to blame\n- Batch size:" in outcome.stdout
    assert outcome.stdout.endswith(f"record: {record}\nnext:   ivme report {record}\n")
    assert load_record(record).kind == "diagnose"
    page = tmp_path / "page.html"
    assert ivme("report", record, "-o", page).status == 0
    assert "Why training step.py takes as long as it does" in page.read_text()


def test_bad_files_end_with_one_line_and_a_status(ivme, tmp_path):
    path = tmp_path / "step.py"
    path.write_text("def make_step(:")
    outcome = ivme("diagnose", path, *QUICK)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "line 1: not valid Python" in outcome.stderr
    path.write_text("def make_step():\n    def step():\n        raise ValueError('broken')\n"
                    "    return step\n")  # fmt: skip
    outcome = ivme("diagnose", path, *QUICK, "-o", tmp_path / "record.json")
    assert outcome.status == 1
    assert f"{path}, line 3, in step(): ValueError: broken" in outcome.stderr
    assert "ValueError: broken" in load_record(tmp_path / "record.json").measurements[0].failure


def test_a_step_that_needs_a_gpu_is_wrong_use_where_there_is_none(ivme, tmp_path):
    path = tmp_path / "step.py"
    path.write_text("def make_step():\n    raise RuntimeError('No CUDA GPUs are available')\n")
    outcome = ivme("diagnose", path, *QUICK)
    assert outcome.status == 2
    assert "the step needs a GPU, and this machine has none" in outcome.stderr


def test_a_budget_of_nothing_is_wrong_use(ivme, tmp_path):
    (tmp_path / "step.py").write_text(STEP)
    outcome = ivme("diagnose", tmp_path / "step.py", "--budget", 0)
    assert outcome.status == 2
    assert "budget_s=0.0; expected more than 0" in outcome.stderr
