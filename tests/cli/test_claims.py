import pytest

from ivme.evidence import ledger, running
from ivme.measure.records import load_record

LEDGER = """
[documents.guide]
file = "guide.txt"
title = "The guide"

[commands.fast]
line = "python benchmarks/claims.py --output {record}"
limit_s = 60
usual_s = 1

[[claims]]
id = "twice"
document = "guide"
group = "speed"
text = "It is twice as fast."
claimed = { kind = "ratio", low = 2, high = 3 }
command = "fast"
figure = { reader = "fact", name = "speedup" }
"""
PROGRAM = """
import pathlib, sys
pathlib.Path(sys.argv[-1]).write_text(
    '{"measurements": [{"label": "speedup", "facts": {"value": 2.5, "low": 2.4, "high": 2.6, '
    '"samples": 20, "note": null}}]}'
)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a checkout of one claim, in which the command line runs."""
    (tmp_path / "claims.toml").write_text(LEDGER)
    (tmp_path / "docs").mkdir()
    (tmp_path / running.MARK).parent.mkdir()
    (tmp_path / running.MARK).write_text(PROGRAM)
    monkeypatch.setattr(ledger.read_ledger, "__defaults__", (tmp_path / "claims.toml",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_ledger_is_listed_without_measuring(ivme):
    outcome = ivme("claims", "--list")
    assert outcome.status == 0
    assert "step-seconds\n  A training step of the model, batch 2, takes 82 s." in outcome.stdout
    assert "  python benchmarks/claims.py phases\n" in outcome.stdout
    assert "total-before (not with --quick)\n" in outcome.stdout
    assert "total-before" not in ivme("claims", "--list", "--quick").stdout


def test_a_ledger_is_measured_and_written_down(ivme, checkout):
    outcome = ivme("claims")
    assert outcome.status == 0
    assert "claimed 2× to 3×; measured 2.5× (2.4× to 2.6×)\n  holds" in outcome.stdout  # noqa: RUF001
    assert "1 claims: 1 holds\n" in outcome.stdout
    record = load_record(checkout / "out" / "claims" / "claims.json")
    assert record.measurements[0].facts["verdict"] == "holds"
    page = (checkout / "docs" / "PERFORMANCE_AND_DEPENDENCIES.md").read_text()
    assert "| **holds** | `python benchmarks/claims.py` |" in page


def test_some_claims_leave_the_page_alone_unless_it_is_named(ivme, checkout):
    assert ivme("claims", "--only", "twice", "-o", "other").status == 0
    assert not (checkout / "docs" / "PERFORMANCE_AND_DEPENDENCIES.md").exists()
    assert (checkout / "other" / "claims.json").exists()
    assert ivme("claims", "--only", "twice", "--docs", "page.md").status == 0
    assert "It is twice as fast." in (checkout / "page.md").read_text()


def test_the_record_alone_is_printed_as_json(ivme, checkout):
    import json

    outcome = ivme("claims", "--json")
    assert json.loads(outcome.stdout)["kind"] == "claims"


def test_a_claim_whose_command_fails_is_named_and_the_status_is_1(ivme, checkout):
    (checkout / running.MARK).write_text("raise SystemExit('no luck')")
    outcome = ivme("claims")
    assert outcome.status == 1
    assert "ended with exit status 1: no luck" in outcome.stderr
    assert "failed: twice; mend their commands" in outcome.stderr
    assert "then `ivme claims --resume -o out/claims`\n" in outcome.stderr
    outcome = ivme("claims", "--quick", "--only", "twice", "-o", "other folder")
    hint = "`ivme claims --resume -o 'other folder' --quick --only twice`"
    assert hint in outcome.stderr
    outcome = ivme("claims", "--docs", "mine.md", "--json")
    assert "`ivme claims --resume -o out/claims --docs mine.md --json`" in outcome.stderr
    (checkout / running.MARK).write_text(PROGRAM)
    assert ivme("claims", "--resume").status == 0


def test_an_unknown_claim_is_wrong_use(ivme, checkout):
    outcome = ivme("claims", "--only", "nothing")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "no claim nothing; `ivme claims --list` names all 1" in outcome.stderr


def test_a_place_that_cannot_be_written_is_refused_before_any_work(ivme, checkout):
    (checkout / "file").write_text("")
    outcome = ivme("claims", "-o", "file/folder")
    assert outcome.status == 2
    assert "no folder; name another place" in outcome.stderr
