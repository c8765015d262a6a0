import pytest

from ivme.errors import UsageError
from ivme.evidence import measuring
from ivme.evidence.ledger import read_ledger
from ivme.evidence.measuring import JOURNAL, ClaimsConfig, measure_claims
from ivme.evidence.needs import NEEDS
from ivme.measure.records import load_record, save_record


@pytest.fixture
def measure(checkout, ledger):
    """Return a function that measures claims of the small ledger."""

    def run(**settings):
        told = []
        config = ClaimsConfig(
            ledger=settings.pop("ledger", ledger),
            root=checkout,
            folder=checkout / "out",
            tell=told.append,
            **settings,
        )
        record = measure_claims(config, ["ivme", "claims"])
        return record, told

    return run


def runs(checkout, name):
    path = checkout / f"{name}.py.runs"
    return len(path.read_text()) if path.exists() else 0


def verdicts(record):
    return {one.label: one.facts.get("verdict") for one in record.measurements}


def test_each_command_runs_once_and_each_claim_is_judged(checkout, measure, tmp_path):
    record, told = measure()
    assert verdicts(record) == {"twice": "holds", "memory": "partly", "late": "does not hold"}
    assert (runs(checkout, "fast"), runs(checkout, "slow")) == (1, 1)
    assert told[0] == "1 of 2: python fast.py (about 1 s)"
    assert not (checkout / "out" / JOURNAL).exists()
    twice = record.measurements[0]
    assert twice.facts["measured"]["low"] == 2.4
    assert twice.configuration == {
        "document": "guide.txt",
        "group": "speed",
        "command": "python fast.py",
    }
    save_record(record, tmp_path / "claims.json")
    assert load_record(tmp_path / "claims.json").kind == "claims"


def test_quick_leaves_slow_claims_out(checkout, measure):
    record, _ = measure(is_quick=True)
    assert list(verdicts(record)) == ["twice", "memory"]
    assert runs(checkout, "slow") == 0


def test_a_command_that_is_gone_fails_its_claims_alone(checkout, measure):
    (checkout / "fast.py").unlink()
    record, told = measure()
    failures = {one.label: one.failure for one in record.measurements}
    gone = "the file fast.py is gone"
    assert failures == {"twice": gone, "memory": gone, "late": None}
    assert f"fast failed: {gone}" in told


def test_a_record_without_the_figure_fails_the_claim(measure, write_program):
    write_program("fast", {"speedup": (2.5, 2.4, 2.6)})
    record, _ = measure()
    assert record.measurements[0].failure is None
    assert "the record does not hold the figure" in record.measurements[1].failure


def test_what_failed_is_measured_again_and_nothing_else(checkout, measure, write_program):
    (checkout / "slow.py").write_text("raise SystemExit(3)")
    measure()
    write_program("slow", {"seconds": (3.0, 3.0, 3.0)})
    record, told = measure(resume=True)
    assert told[0] == "1 commands were measured before"
    assert verdicts(record)["late"] == "holds"
    assert (runs(checkout, "fast"), runs(checkout, "slow")) == (1, 1)


def test_an_interrupted_ledger_keeps_what_it_has_and_goes_on(checkout, measure, monkeypatch):
    run_command = measuring.run_command

    def interrupted(command, *place):
        if command.name == "slow":
            raise KeyboardInterrupt
        return run_command(command, *place)

    monkeypatch.setattr(measuring, "run_command", interrupted)
    record, _ = measure()
    assert not record.is_complete
    assert list(verdicts(record)) == ["twice", "memory"]
    monkeypatch.setattr(measuring, "run_command", run_command)
    record, _ = measure(resume=True)
    assert record.is_complete
    assert len(record.measurements) == 3
    assert runs(checkout, "fast") == 1


def test_without_resume_all_is_measured_anew(checkout, measure):
    (checkout / "slow.py").write_text("raise SystemExit(3)")
    measure()
    measure()
    assert runs(checkout, "fast") == 2


def test_a_journal_of_other_commands_is_not_gone_on_with(checkout, measure, ledger):
    (checkout / "slow.py").write_text("raise SystemExit(3)")
    measure()
    path = checkout / "claims.toml"
    path.write_text(path.read_text().replace("fast.py --output", "fast.py --more --output"))
    _, told = measure(ledger=read_ledger(path), resume=True)
    assert told[0].startswith("what was measured before is of another machine, version or ledger")
    assert runs(checkout, "fast") == 2


def test_a_machine_that_lacks_something_is_no_failure(checkout, measure, monkeypatch):
    monkeypatch.setitem(NEEDS, "java", lambda inventory: "no Java")
    path = checkout / "claims.toml"
    path.write_text(path.read_text().replace("usual_s = 1", 'usual_s = 1\nneeds = ["java"]', 1))
    record, _ = measure(ledger=read_ledger(path))
    assert verdicts(record)["twice"] == "cannot be tested here"
    assert record.measurements[0].facts["reason"] == "no Java"
    assert record.measurements[0].failure is None
    assert runs(checkout, "fast") == 0


def test_an_unknown_claim_is_refused_before_anything_runs(checkout, measure):
    with pytest.raises(UsageError, match="no claim nothing"):
        measure(ids=["nothing"])
    assert runs(checkout, "fast") == 0


def test_a_record_that_lacks_a_figure_is_measured_again(checkout, measure, write_program):
    write_program("fast", {"speedup": (2.5, 2.4, 2.6)})
    record, told = measure()
    assert verdicts(record)["twice"] == "holds"
    assert any(text.startswith("fast failed: the record does not hold the figure") for text in told)
    write_program("fast", {"speedup": (2.5, 2.4, 2.6), "saved": (20.0, 19.0, 21.0)})
    record, _ = measure(resume=True)
    assert verdicts(record) == {"twice": "holds", "memory": "partly", "late": "does not hold"}
    assert (runs(checkout, "fast"), runs(checkout, "slow")) == (2, 1)
