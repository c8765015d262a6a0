"""Architectures: what the models of a record are, side by side."""

from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.report.document import Section
from ivme.report.formatting import BYTES, MISSING, format_count
from ivme.report.sections.tables import Column, build_table, text_column, unit_column


def architecture_section(record: Record) -> Section | None:
    """Return kind, parameters and use of every model, where the record tells them."""
    models = _first_of_each_model(record)
    if not any("architecture" in one.facts or "parameters" in one.facts for one in models):
        return None
    title = "The models" if len(models) > 1 else "The model"
    table = build_table(
        title,
        [
            text_column("Model", (_name(one) for one in models)),
            text_column("Architecture", (_words(one.facts.get("architecture")) for one in models)),
            text_column("Good for", (_words(one.facts.get("good_for")) for one in models)),
            Column(
                name="Parameters",
                cells=tuple(format_count(one.facts.get("parameters")) for one in models),
            ),
            unit_column("Weights", [one.facts.get("weight_bytes") for one in models], BYTES),
        ],
    )
    return Section(title=title, blocks=(table,))


def _first_of_each_model(record: Record) -> list[Measurement]:
    models: dict[str, Measurement] = {}
    for one in record.measurements:
        if one.facts:
            models.setdefault(_name(one), one)
    return list(models.values())


def _name(measurement: Measurement) -> str:
    return str(measurement.configuration.get("model", measurement.label))


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value) if value else MISSING
