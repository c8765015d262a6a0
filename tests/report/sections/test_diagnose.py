from dataclasses import replace

from ivme.measure.records import Measurement, new_record
from ivme.measure.verdict import CONTROL, judge
from ivme.report.document import Note, Table
from ivme.report.sections.comparisons import comparison_findings
from ivme.report.sections.diagnose import (
    diagnosis_advice_section,
    left_out_table,
    no_help_table,
    promise_sentences,
)
from ivme.report.sections.provenance import failure_section, note_findings

LEFT_OUT = {
    "label": "batch 8",
    "axis": "batch_size",
    "reason": "left out: about 120 s of steps do not fit into the 9 s left for it; raise --budget",
}
NO_HELP = {"label": "1 thread", "axis": "threads", "failure": None, "verdict": "slower",
           "speedup": 0.5, "interval": [0.49, 0.51]}  # fmt: skip
BLOCK = {"seconds": {"now": [1.0], "1 thread": [2.0], CONTROL: [1.0]}}
COMPARISON = judge([BLOCK] * 8, "now", "1 thread")


def record(*, comparisons=(), **diagnosis):
    """Return a record of a diagnosis that found nothing to advise."""
    found = {"advice": [], "unconfirmed": None, "no_help": [], "left_out": [], "savings": [],
             "suspects": [], "anatomy": {}, **diagnosis}  # fmt: skip
    samples_s = {"step": (1.0,)} if comparisons else {"first_step": (1.0,)}
    first = Measurement(
        label="now", configuration={}, samples_s=samples_s, facts={"diagnosis": found}
    )
    return new_record("diagnose", ["ivme"], {}, {}, measurements=[first], comparisons=comparisons)


def test_where_nothing_could_be_tried_nothing_is_said_of_what_helps():
    [sentence] = promise_sentences(record(left_out=[LEFT_OUT]))
    assert sentence.startswith("Nothing could be tried, so nothing is known of what would help")
    assert "about 120 s of steps do not fit" in sentence
    assert no_help_table(record(left_out=[LEFT_OUT])) is None


def test_what_was_not_tried_has_a_table_of_its_own():
    both = record(comparisons=[COMPARISON], left_out=[LEFT_OUT], no_help=[NO_HELP])
    assert [row[0] for row in left_out_table(both).rows] == ["batch 8"]
    assert [row[0] for row in no_help_table(both).rows] == ["1 thread"]
    assert promise_sentences(both) == [
        "Nothing that was tried makes this training faster beyond doubt; 1 setting was not tried."
    ]
    tables = [one for one in diagnosis_advice_section(both).blocks if isinstance(one, Table)]
    assert [one.caption for one in tables] == ["Tried, and does not help", "Not tried"]


def test_what_weakens_a_comparison_names_it():
    noted = [replace(COMPARISON, variant=name, notes=("too few blocks",)) for name in ("a", "b")]
    notes = [one for one in comparison_findings(record(comparisons=noted)) if isinstance(one, Note)]
    assert [one.text for one in notes] == ["a: too few blocks", "b: too few blocks"]
    [note] = comparison_findings(record(comparisons=noted[:1]))[1:]
    assert note.text == "too few blocks"


def test_what_was_not_tried_has_not_failed():
    left_out = Measurement(label="batch 8", configuration={}, failure=LEFT_OUT["reason"])
    failed = Measurement(label="compiled", configuration={}, failure="no compiler")
    both = replace(record(left_out=[LEFT_OUT]), measurements=(left_out, failed))
    assert failure_section(both).blocks[0].rows == (("compiled", "no compiler"),)
    assert [one.text for one in note_findings(both)] == [
        "1 of 2 configurations failed; reasons below."
    ]
    without = replace(both, measurements=(left_out,))
    assert (failure_section(without), note_findings(without)) == (None, [])


def test_what_was_tried_in_vain_is_all_that_is_told_where_nothing_was_left_out():
    assert promise_sentences(record(comparisons=[COMPARISON], no_help=[NO_HELP])) == [
        "Nothing that was tried makes this training faster beyond doubt."
    ]
    assert left_out_table(record()) is None
