"""Claims: what a ledger claimed, what was measured, and the verdicts, document by document.

Reads what `ivme claims` leaves beside its measurements, under the names "claimed" and "verdict".
"""

from collections import Counter

from ivme.measure.records import Measurement, Record
from ivme.report.claim_wording import claimed_text, measured_text, verdict_text
from ivme.report.document import Block, KeyFigure, Paragraph, Section, Table
from ivme.report.sections.tables import build_table, text_column

FAILED = "failed"
_HOW_TO_READ = (
    "Behind a figure in brackets: its 95% interval. “Close”: the interval contains a limit "
    "between two verdicts, so that another run may judge otherwise."
)


def claims_of(record: Record) -> list[Measurement]:
    """Return the measurements that judge a claim; none in other records."""
    return [one for one in record.measurements if "claimed" in one.facts]


def claims_findings(record: Record) -> list[Block]:
    """Return how many claims have which verdict, in a sentence."""
    claims = claims_of(record)
    if not claims:
        return []
    told = ", ".join(f"{word}: {count}" for word, count in _verdicts(claims).most_common())
    return [Paragraph(text=f"{len(claims)} claims. {told}.", is_lead=True)]


def claims_figures(record: Record) -> list[KeyFigure]:
    """Return the count of each verdict."""
    claims = claims_of(record)
    return [
        KeyFigure(value=str(count), label=word, detail=f"of {len(claims)} claims")
        for word, count in _verdicts(claims).most_common()
    ]


def claims_section(record: Record) -> Section | None:
    """Return a table for each document whose claims were measured."""
    claims = claims_of(record)
    if not claims:
        return None
    documents = dict.fromkeys(str(one.configuration["document"]) for one in claims)
    tables = [
        _table(name, [one for one in claims if one.configuration["document"] == name])
        for name in documents
    ]
    return Section(title="Claims and verdicts", blocks=(Paragraph(text=_HOW_TO_READ), *tables))


def _verdicts(claims: list[Measurement]) -> Counter[str]:
    return Counter(FAILED if one.failure else str(one.facts["verdict"]) for one in claims)


def _table(document: str, claims: list[Measurement]) -> Table:
    return build_table(
        document,
        [
            text_column("Claim", (str(one.facts["text"]) for one in claims)),
            text_column("Claimed", (claimed_text(one.facts["claimed"]) for one in claims)),
            text_column("Measured here", (measured_text(one.facts) for one in claims)),
            text_column("Verdict", (verdict_text(one.failure, one.facts) for one in claims)),
        ],
    )
