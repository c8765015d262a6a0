"""The page: the record of a ledger as Markdown, one table for each document."""

from collections.abc import Iterator, Sequence
from typing import Any

from ivme.evidence.ledger import Claim, Ledger
from ivme.evidence.verdict import VERDICTS
from ivme.measure.records import Measurement, Record
from ivme.report.claim_wording import claimed_text, measured_text, verdict_text
from ivme.report.escaping import escape_markdown

LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "h2o", "numpy")
NOT_MEASURED = "not measured in this run"
INTRODUCTION = """\
What the project's source documents claim, and what came out when it was measured. This page is
written by `ivme claims`; run it to replace these figures by those of your machine."""
RULE = """\
A claim of speed or savings **holds** if the estimate reaches the claimed range, widened by its
margin, and its whole interval shows an effect; **partly** if the effect is there and smaller; else
it **does not hold**. More than claimed holds. The margin is a tenth unless the table says "within";
most times of other machines are judged within a factor of two. Intervals are 95%; of few samples
their range is given. *(close)*: the interval contains a limit between two verdicts, or the figure
is not to be trusted and says why; another run may judge otherwise.
Speeds are medians of runs in turns; memory is of fresh processes. Weights are random: nothing here
says anything about the quality of answers."""


def write_page(record: Record, ledger: Ledger) -> str:
    """Return the page on a record; claims that it does not hold are listed as not measured."""
    lines = ["# Performance and dependencies", "", INTRODUCTION, "", *_summary(record), "", RULE]
    for document in ledger.documents.values():
        claims = [claim for claim in ledger.claims if claim.document == document.name]
        lines += ["", f"## {document.title}", "", f"`{document.file}`", ""]
        lines += _table(claims, ledger, {one.label: one for one in record.measurements})
    lines += ["", "## Dependencies", "", *_versions(record)]
    return "\n".join(lines) + "\n"


def _summary(record: Record) -> Iterator[str]:
    counts = count_verdicts(record.measurements)
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    processor = record.machine["processor"]
    memory_gib = record.machine["memory"]["total_bytes"] / 2**30
    gpus = [one["name"] for one in record.machine["accelerators"] if one["is_usable"]]
    yield f"**{len(record.measurements)} claims: {told}.**"
    yield ""
    yield (
        f"Machine: {processor['name']}, {processor['usable_cores']} usable cores, "
        f"{memory_gib:.0f} GiB, {', '.join(gpus) if gpus else 'no GPU'}; "
        f"{record.machine['system']['name']}. Measured {record.created_at[:10]} with "
        f"`{' '.join(record.command)}`."
    )


def count_verdicts(measurements: Sequence[Measurement]) -> dict[str, int]:
    """Return how many claims have each verdict, and how many failed."""
    words = ["failed" if one.failure else one.facts["verdict"] for one in measurements]
    return {word: words.count(word) for word in (*VERDICTS, "failed")}


def _table(
    claims: Sequence[Claim], ledger: Ledger, measured: dict[str, Measurement]
) -> Iterator[str]:
    yield "| claim | claimed | measured here | verdict | command |"
    yield "| --- | --- | --- | --- | --- |"
    for claim in claims:
        measurement = measured.get(claim.id)
        text = escape_markdown(claim.text)
        if claim.remark:
            text += f" *{escape_markdown(claim.remark)}*"
        if measurement is None:
            figure, verdict = "", NOT_MEASURED
        else:
            figure = measured_text(measurement.facts)
            verdict = verdict_text(measurement.failure, measurement.facts)
        cells = [text, claimed_text(vars(claim.claimed)), figure, _bold(verdict)]
        yield f"| {' | '.join(cells)} | `{ledger.commands[claim.command].shown}` |"


def _bold(verdict: str) -> str:
    word = next((word for word in VERDICTS if verdict.startswith(word)), None)
    if word is None:
        return escape_markdown(verdict)
    rest = verdict.removeprefix(word).strip()
    return f"**{word}**{' ' if rest.startswith('(') else ''}{escape_markdown(rest)}"


def _versions(record: Record) -> Iterator[str]:
    versions: dict[str, Any] = dict(record.versions)
    known = [name for name in ("python", "ivme", *LIBRARIES) if name in versions]
    yield "| package | version |"
    yield "| --- | --- |"
    for name in known:
        yield f"| {name} | {versions[name]} |"
