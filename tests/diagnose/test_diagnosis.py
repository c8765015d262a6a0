import pytest

from ivme.diagnose import ceilings_here
from ivme.diagnose.configuration import DiagnoseConfig
from ivme.diagnose.diagnosis import outline_limit_s, run_diagnose
from ivme.diagnose.targets import FILE, MM_REC, MODEL, Target
from ivme.errors import IvmeError, UsageError
from ivme.hardware.ceilings import CeilingPlan
from ivme.measure.records import load_record, save_record
from ivme.report.building import build_part

TINY_PLAN = CeilingPlan(
    name="quick", sizes=(16,), accelerator_sizes=(16,), product_budget_s=0.0, copy_budget_s=0.0
)

SCARCE = """
import fcntl

memory = open(__file__)

def take():
    try:
        fcntl.flock(memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MemoryError("one at a time") from None
"""


@pytest.fixture(autouse=True)
def tiny_ceilings(monkeypatch):
    monkeypatch.setattr(ceilings_here, "QUICK_PLAN", TINY_PLAN)


def run(target, budget_s=4.0, **options):
    config = DiagnoseConfig(
        target=str(target), is_quick=True, budget_s=budget_s, step_limit_s=20.0, **options
    )
    return run_diagnose(config, command=("ivme", "diagnose", str(target)))


def test_a_sound_step_gives_a_record_that_reports_read(write_step, tmp_path):
    result = run(write_step(), given={"threads": 1})
    assert result.failure is None
    save_record(result.record, tmp_path / "record.json")
    record = load_record(tmp_path / "record.json")
    first = record.measurements[0]
    found = first.facts["diagnosis"]
    assert record.kind == "diagnose"
    assert found["version"] == 1
    assert first.configuration["batch_size"] == 4  # the file's own default
    shares = found["anatomy"]["phase_shares"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["backward"] > 0
    assert found["anatomy"]["limits"]["flops"] == 3 * 2 * 64 * (32 * 64 + 64 * 50)
    assert {one["axis"] for one in found["suspects"]} >= {"batch_size", "dtype"}
    assert record.comparisons
    titles = [section.title for section in build_part(record).sections]
    assert titles[:3] == ["What to change", "Where a step goes", "What was tried"]


def test_a_leak_is_named_in_the_notes(write_step):
    result = run(write_step(after="kept.append(loss)"), given={"threads": 1})
    assert any("memory leak" in note and "'kept' of" in note for note in result.record.notes)


def test_a_size_that_does_not_fit_is_found_and_the_sweep_goes_on(write_step):
    path = write_step(after="torch.zeros((batch_size // 16) << 50)")
    result = run(path, budget_s=30.0, given={"threads": 1})
    assert result.failure is None
    trials = {one.label: one for one in result.record.measurements}
    assert trials["batch 16"].failure.startswith("out of memory")
    assert {"batch 2", "batch 8", "bfloat16"} <= {one.variant for one in result.record.comparisons}


def test_a_step_that_fits_into_memory_only_once_is_still_looked_at(write_step, tmp_path):
    """A lock stands for the memory: of two processes one is refused it, as long as both live."""
    (tmp_path / "scarce.py").write_text(SCARCE)
    path = write_step(after="import scarce; scarce.take()")
    result = run(path, budget_s=120.0, given={"threads": 1})
    assert result.failure is None
    found = result.record.measurements[0].facts["diagnosis"]
    assert found["anatomy"]["phase_shares"]
    reasons = {one["label"]: one["reason"] for one in found["left_out"]}
    assert reasons["bfloat16"].startswith("left out: it fits into memory alone, but not beside the")
    assert build_part(result.record).sections


def test_looking_that_takes_too_much_memory_is_noted_and_the_sweep_goes_on(write_step):
    is_watched = "hasattr(torch.autograd.backward, '__wrapped__')"
    path = write_step(after=f"assert not {is_watched}, 'out of memory'")
    result = run(path, given={"threads": 1})
    assert result.failure is None
    [note] = [one for one in result.record.notes if "lack of memory" in one]
    assert note.startswith("anatomy: cut short by lack of memory (out of memory: ")
    assert len(result.record.measurements) > 1
    assert build_part(result.record).sections


@pytest.mark.parametrize(
    ("kind", "step_limit_s", "expected_s"),
    [(FILE, 60.0, 60.0), (MODEL, 60.0, 600.0), (MODEL, 900.0, 900.0), (MM_REC, 900.0, 900.0)],
)
def test_a_longer_step_limit_holds_for_loading_too(kind, step_limit_s, expected_s):
    target = Target(kind=kind, reference="target")
    assert outline_limit_s(target, step_limit_s) == expected_s


def test_what_was_found_before_a_failure_is_kept(write_step):
    path = write_step(after="kept.append(1); assert len(kept) < 25, 'enough'")
    result = run(path, given={"threads": 1})
    assert isinstance(result.failure, IvmeError)
    assert "AssertionError: enough" in str(result.failure)
    assert not result.record.is_complete
    assert result.record.measurements[0].samples_s["first_step"]


def test_a_setting_that_the_file_does_not_take_is_refused(write_step):
    with pytest.raises(UsageError, match=r"--workers: train_step\.py does not take workers"):
        run(write_step(), given={"workers": 2})


def test_mm_rec_runs_its_own_training_step():
    result = run("mm-rec-1m-char", given={"threads": 1, "batch_size": 1, "sequence_length": 32})
    assert result.failure is None
    found = result.record.measurements[0].facts["diagnosis"]
    operators = {row["operator"] for row in found["anatomy"]["limits"]["operators"]}
    assert any(name.startswith("mm_rec::") for name in operators)
    assert found["anatomy"]["phases"]["tokenize_item_s"]


def test_a_transformer_tokenizes_in_its_step():
    result = run("bert-tiny", given={"threads": 1, "sequence_length": 16})
    assert result.failure is None
    anatomy = result.record.measurements[0].facts["diagnosis"]["anatomy"]
    assert anatomy["phase_s"]["tokenization"] > 0
    assert any("modeling_bert.py" in row["line"] for row in anatomy["lines"])
