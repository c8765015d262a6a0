"""Building: records to a document. To add to reports, add a row to one of the three tables here.

A section is chosen by the data that a record holds, never by the command that wrote it, so a new
command gets every section that its data fills.
"""

from collections.abc import Callable, Sequence

from ivme.measure.records import Record
from ivme.report.document import Block, Document, KeyFigure, KeyFigures, Part, Section
from ivme.report.sections.architectures import architecture_section
from ivme.report.sections.claims import (
    claims_figures,
    claims_findings,
    claims_of,
    claims_section,
)
from ivme.report.sections.comparisons import (
    comparison_figures,
    comparison_findings,
    comparison_section,
)
from ivme.report.sections.diagnose import (
    diagnosed,
    diagnosis_advice_section,
    diagnosis_figures,
    diagnosis_findings,
    diagnosis_title,
)
from ivme.report.sections.diagnose_anatomy import anatomy_section
from ivme.report.sections.diagnose_sweeps import sweep_section
from ivme.report.sections.ensemble import (
    ensemble_figures,
    ensemble_findings,
    ensemble_section,
    ensemble_title,
    judged,
)
from ivme.report.sections.load import load_figures, load_findings, load_section, loaded
from ivme.report.sections.machine import advice_section, ceiling_figures, ceiling_section
from ivme.report.sections.pretraining import (
    pretrained,
    pretraining_figures,
    pretraining_findings,
    pretraining_section,
    pretraining_title,
)
from ivme.report.sections.provenance import (
    failure_section,
    machine_section,
    note_findings,
    rerun_section,
    summary,
)
from ivme.report.sections.speed import cost_section, latency_section, speed_figures, speed_findings
from ivme.report.sections.spread import spread_section, stage_section
from ivme.report.sections.tuning import tuned, tuning_findings, tuning_section

FINDINGS: tuple[Callable[[Record], list[Block]], ...] = (
    claims_findings,
    diagnosis_findings,
    pretraining_findings,
    ensemble_findings,
    load_findings,
    tuning_findings,
    comparison_findings,
    speed_findings,
    note_findings,
)
KEY_FIGURES: tuple[Callable[[Record], list[KeyFigure]], ...] = (
    claims_figures,
    diagnosis_figures,
    pretraining_figures,
    ensemble_figures,
    load_figures,
    comparison_figures,
    speed_figures,
    ceiling_figures,
)
SECTIONS: tuple[Callable[[Record], Section | None], ...] = (
    claims_section,
    advice_section,
    diagnosis_advice_section,
    anatomy_section,
    sweep_section,
    pretraining_section,
    ensemble_section,
    load_section,
    tuning_section,
    comparison_section,
    architecture_section,
    latency_section,
    cost_section,
    stage_section,
    spread_section,
    ceiling_section,
    failure_section,
    rerun_section,
    machine_section,
)

_LONGEST_TITLE = 40  # letters of model names; more than that is counted instead


def build_document(records: Sequence[Record]) -> Document:
    """Return the report of the records, one part each."""
    parts = tuple(build_part(record) for record in records)
    title = parts[0].title if len(parts) == 1 else f"Report of {len(parts)} records"
    return Document(title=title, parts=parts)


def build_part(record: Record) -> Part:
    """Return the report of one record."""
    findings = [block for find in FINDINGS for block in find(record)]
    figures = tuple(figure for pick in KEY_FIGURES for figure in pick(record))
    return Part(
        title=title_of(record),
        summary=summary(record),
        blocks=(*findings, KeyFigures(figures=figures)) if figures else tuple(findings),
        sections=tuple(section for build in SECTIONS if (section := build(record)) is not None),
    )


def title_of(record: Record) -> str:
    """Return what was measured, in a few words."""
    if claims_of(record):
        return "Which claims hold on this machine"
    if diagnosed(record):
        return diagnosis_title(record)
    if pretrained(record):
        return pretraining_title(record)
    if judged(record):
        return ensemble_title(record)
    models = [one.configuration.get("model") for one in record.measurements]
    names = [str(name) for name in dict.fromkeys(models) if name]
    if len(names) > 1 and len(", ".join(names)) > _LONGEST_TITLE:
        return f"{len(names)} models side by side"
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]} side by side"
    if names and tuned(record):
        return f"The fastest way to run {names[0]}"
    if names:
        return f"How fast {names[0]} runs"
    if loaded(record):
        return "What the server does under load"
    if record.machine.get("ceilings"):
        return "What this machine can do"
    return f"ivme {record.kind}"
