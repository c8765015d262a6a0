import re

import pytest

from ivme.errors import UsageError
from ivme.evidence.ledger import read_ledger
from ivme.evidence.running import checkout_folder, find_fault


def test_the_ledger_holds_the_claims_of_all_five_documents():
    ledger = read_ledger()
    assert len(ledger.claims) >= 40
    assert len(ledger.documents) == 5
    assert {claim.document for claim in ledger.claims} == set(ledger.documents)


def test_every_command_of_the_ledger_is_there_and_measures_a_claim():
    ledger = read_ledger()
    root = checkout_folder()
    assert {claim.command for claim in ledger.claims} == set(ledger.commands)
    assert [find_fault(one, root) for one in ledger.commands.values()] == [None] * len(
        ledger.commands
    )


def test_the_quick_ledger_is_meant_to_take_less_than_fifteen_minutes():
    ledger = read_ledger()
    names = {claim.command for claim in ledger.select(is_quick=True)}
    here = [ledger.commands[name] for name in names if "gpu" not in ledger.commands[name].needs]
    assert sum(command.usual_s for command in here) < 15 * 60


def test_claims_are_chosen_by_id_and_by_speed(ledger):
    assert [one.id for one in ledger.select(["late", "twice"])] == ["twice", "late"]
    assert [one.id for one in ledger.select(is_quick=True)] == ["twice", "memory"]
    with pytest.raises(UsageError, match="no claim never; `ivme claims --list` names all 3"):
        ledger.select(["twice", "never"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('command = "slow"', 'command = "gone"', "claim 'late': command='gone'; expected one of"),
        ('kind = "ratio"', 'kind = "pounds"', "claim 'twice': kind='pounds'; expected one of"),
        ('reader = "fact"', 'reader = "star"', "claim 'twice': reader='star'; expected one of"),
        ('id = "late"', 'id = "twice"', "claim 'twice': another claim has this id"),
        ("low = 2, high = 3", "low = 4, high = 3", "claim 'twice': low=4 above high=3"),
        ("low = 2, ", "", "claim 'twice': .*'low'"),
        ("{record}", "x", "command 'fast': expected {record} in its line"),
        ("usual_s = 1", "usual_s = 1\nneeds = ['luck']", "needs=.*; expected one of cores, gpu"),
        ("[documents.guide]", "[documents.guide", "is not TOML"),
    ],
)
def test_a_ledger_that_does_not_fit_together_is_refused(checkout, before, after, message):
    path = checkout / "claims.toml"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UsageError, match=message):
        read_ledger(path)


def test_a_ledger_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(UsageError, match=re.escape(f"cannot read {path}: No such file")):
        read_ledger(path)


def test_a_command_is_shown_as_a_reader_types_it(ledger):
    assert ledger.commands["fast"].shown == "python fast.py"
