import pytest

from ivme.evidence.figure import Figure
from ivme.evidence.measuring import ClaimsConfig, measure_claims
from ivme.evidence.page import count_verdicts, write_page
from ivme.report.building import build_document
from ivme.report.claim_wording import claimed_text, measured_text, verdict_text
from ivme.report.document import Paragraph, Table


@pytest.fixture
def record(checkout, ledger):
    config = ClaimsConfig(ledger=ledger, root=checkout, folder=checkout / "out", is_quick=True)
    return measure_claims(config, ["ivme", "claims", "--quick"])


def test_the_page_has_a_row_for_each_claim_and_says_where_it_was_measured(record, ledger):
    page = write_page(record, ledger)
    assert "**2 claims: 1 holds, 1 partly.**" in page
    assert "usable cores" in page
    assert "with `ivme claims --quick`." in page
    assert "## The guide\n\n`guide.txt`" in page
    assert (
        "| It is twice as fast. | 2× to 3× | 2.5× (2.4× to 2.6×) | **holds** | "  # noqa: RUF001
        "`python fast.py` |"
    ) in page
    late = "| It takes 3 s. | about 3 s, within a factor of 2 |  | not measured in this run |"
    assert late in page
    assert "| torch | " in page


def test_verdicts_are_counted(record):
    assert count_verdicts(record.measurements) == {
        "holds": 1,
        "partly": 1,
        "does not hold": 0,
        "cannot be tested here": 0,
        "failed": 0,
    }


def claimed(**settings):
    return {"direction": "at least", "words": None, "margin": 0.1, **settings}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (claimed(kind="percent", low=25, high=30), "25% to 30%"),
        (claimed(kind="count", low=1960832, high=1960832, margin=0.0), "1,960,832"),
        (claimed(kind="seconds", low=82, high=82, direction="about"), "about 82 s"),
        (claimed(kind="bytes", low=3.75e6, high=3.75e6, direction="about"), "about 3.75 MB"),
        (claimed(kind="seconds", low=0, high=1e-4, direction="at most"), "at most 100 µs"),
        (claimed(kind="ratio", low=1.2, high=9, words="no figure"), "no figure"),
        (
            claimed(kind="seconds", low=2, high=5, direction="about", margin=0.5),
            "2 s to 5 s, within 50%",
        ),
    ],
)
def test_claims_are_put_as_the_documents_put_them(entry, text):
    assert claimed_text(entry) == text


def test_figures_show_what_they_are_of():
    figure = Figure(value=50.0, low=49.0, high=51.0, unit="seconds", before=2.0, after=1.0)
    facts = {"claimed": claimed(kind="percent", low=1, high=2), "measured": vars(figure)}
    assert measured_text(facts) == "50% (49% to 51%); 2.00 s against 1.00 s"
    few = {**facts, "measured": {**vars(figure), "range_of": 2}}
    assert measured_text(few) == "50% (49% to 51%, range of 2); 2.00 s against 1.00 s"
    noisy = {**facts, "measured": {**vars(figure), "note": "it was not quiet"}}
    assert measured_text(noisy).endswith("against 1.00 s; it was not quiet")


def test_verdicts_say_why_there_is_none():
    assert verdict_text("it is gone", {}) == "failed: it is gone"
    facts = {"verdict": "cannot be tested here", "reason": "no CUDA device"}
    assert verdict_text(None, facts) == "cannot be tested here: no CUDA device"
    assert verdict_text(None, {"verdict": "holds", "is_close": True}) == "holds (close)"


def test_a_report_shows_claim_figure_and_verdict_side_by_side(record):
    [part] = build_document([record]).parts
    assert part.title == "Which claims hold on this machine"
    assert "2 claims. holds: 1, partly: 1." in [
        block.text for block in part.blocks if isinstance(block, Paragraph)
    ]
    [section] = [one for one in part.sections if one.title == "Claims and verdicts"]
    [table] = [block for block in section.blocks if isinstance(block, Table)]
    assert table.caption == "guide.txt"
    assert ("It is twice as fast.", "2× to 3×", "2.5× (2.4× to 2.6×)", "holds") in table.rows  # noqa: RUF001
