"""Ensembles of classifiers: what each member and all together reach on labeled texts.

Reads what `ivme ensemble evaluate` leaves beside each measurement, under "classification".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ivme.measure.records import Measurement, Record
from ivme.report.document import (
    Block,
    KeyFigure,
    Paragraph,
    Plots,
    Section,
    Table,
)
from ivme.report.figures import samples
from ivme.report.formatting import MISSING, format_interval, format_number
from ivme.report.sections.ensemble_charts import (
    domain_charts,
    reliability_chart,
    roc_chart,
)
from ivme.report.sections.tables import build_table, number_column, text_column

Figures: TypeAlias = Mapping[str, Mapping[str, Any]]  # name -> value and interval

RATES = ("0.01", "0.05")  # of false positives, that thresholds were fixed for
LEVEL_NAMES = {"0.01": "1%", "0.05": "5%"}
PREFERRED = ("stacking", "majority vote")  # the combination that headlines are about


def judged(record: Record) -> list[tuple[Measurement, Mapping[str, Any]]]:
    """Return members and combinations with what was found of them; nothing in other records."""
    return [
        (one, one.facts["classification"])
        for one in record.measurements
        if isinstance(one.facts.get("classification"), Mapping)
    ]


def ensemble_title(record: Record) -> str:
    """Return what was evaluated, in a few words."""
    settings = record.settings
    names = settings.get("label_names", {})
    written = [str(names.get(label, label)) for label in settings.get("labels", ())]
    return f"How well the ensemble tells {' from '.join(written)}"


def ensemble_findings(record: Record) -> list[Block]:
    """Return in a sentence what all members together reach."""
    best = headline(record)
    if best is None:
        return []
    measurement, facts = best
    figures, name = facts["figures"], positive_name(record)
    text = f"On {_texts(record):,} texts of {record.settings['data']}, {measurement.label} "
    text += f"chooses the right label {share_text(figures['accuracy'])} of the time"
    if figures["auroc"]["value"] is not None:
        text += f", AUROC {decimal_text(figures['auroc'])}"
    text += "."
    if "tpr_at_0.01" in figures and figures["tpr_at_0.01"]["value"] is not None:
        text += (
            f" At the threshold that was fixed for 1% false positives it finds "
            f"{share_text(figures['tpr_at_0.01'])} of the texts that are {name}"
        )
        if figures["fpr_at_0.01"]["value"] is not None:
            text += f", and takes {share_text(figures['fpr_at_0.01'])} of the others for it"
        text += "."
    return [Paragraph(text=text, is_lead=True)]


def ensemble_figures(record: Record) -> list[KeyFigure]:
    """Return the figures that an evaluation is quoted by."""
    best = headline(record)
    if best is None:
        return []
    figures = best[1]["figures"]
    shown = (
        ("auroc", "AUROC", decimal_only, decimal_interval),
        ("tpr_at_0.01", "true positives at 1% false", share_only, share_interval),
        ("accuracy", "accuracy", share_only, share_interval),
        ("calibration_error", "calibration error", decimal_only, decimal_interval),
    )
    return [
        KeyFigure(value=write(figures[name]), label=label, detail=detail(figures[name]))
        for name, label, write, detail in shown
        if name in figures and figures[name]["value"] is not None
    ]


def ensemble_section(record: Record) -> Section | None:
    """Return tables and charts of an evaluation."""
    if not judged(record):
        return None
    blocks: list[Block] = [judge_table(record)]
    curves = [chart for chart in (roc_chart(record), reliability_chart(record)) if chart]
    if curves:
        blocks.append(Plots(charts=tuple(curves)))
    for build in (domain_table, length_table, member_table):
        table = build(record)
        if table is not None:
            blocks.append(table)
    if bars := domain_charts(record):
        blocks.append(Plots(charts=bars))
    return Section(title="Members and ensemble", blocks=tuple(blocks))


def headline(record: Record) -> tuple[Measurement, Mapping[str, Any]] | None:
    """Return the combination that headlines are about; None in other records."""
    by_name = {one.label: (one, facts) for one, facts in judged(record)}
    found = [by_name[name] for name in (*PREFERRED, *by_name) if name in by_name]
    return found[0] if found else None


def positive_name(record: Record) -> str:
    """Return what people call the label that is to be found."""
    positive = record.settings["positive"]
    return str(record.settings["label_names"].get(positive, positive))


def judge_table(record: Record) -> Table:
    """Return the figures of every member and combination on all texts."""
    rows = [(one, facts["figures"]) for one, facts in judged(record)]
    figures = [found for _, found in rows]
    rate_columns = [
        number_column(f"{kind} at {LEVEL_NAMES[rate]}", cells(figures, f"{key}_at_{rate}", write))
        for rate in RATES
        for kind, key, write in (("TPR", "tpr", share_only), ("FPR", "fpr", share_only))
    ]
    return build_table(
        f"All {_texts(record):,} texts",
        [
            text_column("Member", (one.label for one, _ in rows)),
            number_column("AUROC", cells(figures, "auroc", decimal_only)),
            number_column("95% interval", cells(figures, "auroc", decimal_interval)),
            number_column("Accuracy", cells(figures, "accuracy", share_only)),
            *rate_columns,
            number_column("Calibration error", cells(figures, "calibration_error", decimal_only)),
            number_column("Brier", cells(figures, "brier", decimal_only)),
            number_column("Texts/s", (_rate(one) for one, _ in rows)),
        ],
    )


def domain_table(record: Record) -> Table | None:
    """Return the figures of the ensemble on the texts of each domain."""
    return _group_table(record, "domain", "domains", "Domain")


def length_table(record: Record) -> Table | None:
    """Return the figures of the ensemble on texts of like length."""
    return _group_table(record, "length", "lengths", "Words")


def member_table(record: Record) -> Table | None:
    """Return the AUROC of every member and combination by domain."""
    rows = judged(record)
    groups = list(record.settings.get("domains") or ())
    if len(groups) < 2 or all(
        facts["by_domain"][name]["auroc"]["value"] is None for _, facts in rows for name in groups
    ):
        return None
    return build_table(
        "AUROC by domain",
        [
            text_column("Domain", groups),
            *(
                number_column(
                    one.label,
                    (decimal_only(facts["by_domain"][name]["auroc"]) for name in groups),
                )
                for one, facts in rows
            ),
        ],
    )


def _group_table(record: Record, kind: str, counted: str, heading: str) -> Table | None:
    best, counts = headline(record), record.settings.get(counted) or {}
    if best is None or len(counts) < 2:
        return None
    measurement, facts = best
    figures = [facts[f"by_{kind}"][name] for name in counts]
    return build_table(
        f"{measurement.label.capitalize()}, by {kind}",
        [
            text_column(heading, counts),
            number_column("Texts", (f"{count:,}" for count in counts.values())),
            number_column("AUROC", cells(figures, "auroc", decimal_only)),
            number_column("95% interval", cells(figures, "auroc", decimal_interval)),
            number_column("Accuracy", cells(figures, "accuracy", share_only)),
            number_column("TPR at 1%", cells(figures, "tpr_at_0.01", share_only)),
            number_column("95% interval of it", cells(figures, "tpr_at_0.01", share_interval)),
            number_column("FPR at 1%", cells(figures, "fpr_at_0.01", share_only)),
        ],
    )


Write: TypeAlias = Callable[[Mapping[str, Any]], str]


def cells(figures: Sequence[Figures], name: str, write: Write) -> list[str]:
    """Return a figure of each, as text; a dash where there is none."""
    return [write(one[name]) if name in one else MISSING for one in figures]


def share_only(figure: Mapping[str, Any]) -> str:
    """Return a share in percent, with one decimal: shares near 0 and 100% differ by little."""
    return MISSING if figure["value"] is None else f"{100 * figure['value']:.1f}%"


def share_interval(figure: Mapping[str, Any]) -> str:
    """Return the interval of a share in percent."""
    if figure["interval"] is None:
        return MISSING
    return format_interval(figure["interval"], lambda bound, _: f"{100 * bound:.1f}%")


def share_text(figure: Mapping[str, Any]) -> str:
    """Return a share with its interval, for sentences."""
    return f"{share_only(figure)} ({share_interval(figure)})"


def decimal_only(figure: Mapping[str, Any]) -> str:
    """Return a figure between 0 and 1 with three decimals."""
    return MISSING if figure["value"] is None else f"{figure['value']:.3f}"


def decimal_interval(figure: Mapping[str, Any]) -> str:
    """Return the interval of a figure between 0 and 1."""
    if figure["interval"] is None:
        return MISSING
    return format_interval(figure["interval"], lambda bound, _: f"{bound:.3f}")


def decimal_text(figure: Mapping[str, Any]) -> str:
    """Return a figure between 0 and 1 with its interval, for sentences."""
    return f"{decimal_only(figure)} ({decimal_interval(figure)})"


def _texts(record: Record) -> int:
    return sum(record.settings["counts"].values())


def _rate(measurement: Measurement) -> str:
    """Return texts a second; members of a group that share work have the same."""
    seconds = samples(measurement, "scoring")
    if not seconds or not measurement.items_per_call:
        return MISSING
    return format_number(measurement.items_per_call / seconds[0])
