"""Provenance: what failed, what to mind, and how to measure it again."""

import shlex

from ivme.measure.records import Record
from ivme.report.document import Block, Command, Note, Section, Table
from ivme.report.facts import fact_table
from ivme.report.wording import date_text

LEFT_OUT = "left out: "  # how the reason begins where a diagnosis did not try a setting
_SHOWN_APART = ("ceilings", "advice", "versions")


def note_findings(record: Record) -> list[Block]:
    """Return the notes of the record, warnings first."""
    blocks: list[Block] = []
    if not record.is_complete:
        text = "The run was interrupted: this is what was measured until then."
        blocks.append(Note(text=text, word="Warning", is_warning=True))
    failed = len(_failures(record))
    if failed:
        text = f"{failed} of {len(record.measurements)} configurations failed; reasons below."
        blocks.append(Note(text=text, word="Warning", is_warning=True))
    advised = {advice["finding"] for advice in record.machine.get("advice") or ()}
    return [*blocks, *(Note(text=note) for note in record.notes if note not in advised)]


def failure_section(record: Record) -> Section | None:
    """Return the configurations that failed, and why."""
    rows = tuple(_failures(record))
    if not rows:
        return None
    table = Table(caption="What failed", columns=("Configuration", "Reason"), rows=rows)
    return Section(title="What failed", blocks=(table,))


def _failures(record: Record) -> list[tuple[str, str]]:
    """Return what was tried and failed; what was left out has a table of its own."""
    return [
        (one.label, one.failure)
        for one in record.measurements
        if one.failure is not None and not one.failure.startswith(LEFT_OUT)
    ]


def rerun_section(record: Record) -> Section | None:
    """Return the command that measures this again."""
    if not record.command:
        return None
    command = Command(text=shlex.join(record.command))
    return Section(title="Measure it again", blocks=(command,))


def machine_section(record: Record) -> Section | None:
    """Return machine, versions and settings, folded."""
    described = {key: value for key, value in record.machine.items() if key not in _SHOWN_APART}
    groups = {"Machine": described, "Versions": record.versions, "Settings": record.settings}
    tables = tuple(fact_table(name, facts) for name, facts in groups.items() if facts)
    if not tables:
        return None
    return Section(title="Machine, versions and settings", blocks=tables, is_folded=True)


def summary(record: Record) -> str:
    """Return when, where and with what the record was measured."""
    versions = (
        f"{name} {record.versions[name]}"
        for name in ("ivme", "torch", "transformers")
        if name in record.versions
    )
    return f"Measured {date_text(record.created_at)}{_place(record)}. {', '.join(versions)}."


def _place(record: Record) -> str:
    processor = record.machine.get("processor") or {}
    if not processor.get("name"):
        return ""
    cores = processor.get("usable_cores")
    return f" on {processor['name']}" + (f", {cores} cores" if cores else "")
