"""Pretraining of a language model: how its loss fell, and what it writes now.

Reads what a training run leaves beside a measurement, under "pretraining".
"""

import math
from collections.abc import Mapping
from typing import Any

from ivme.measure.records import Measurement, Record
from ivme.report.charts.specifications import CurveChart, Point, Series
from ivme.report.document import Block, KeyFigure, Note, Paragraph, Plots, Section
from ivme.report.formatting import format_number, format_seconds


def pretrained(record: Record) -> list[tuple[Measurement, Mapping[str, Any]]]:
    """Return the models that were trained, with how that went; nothing in other records."""
    return [
        (one, one.facts["pretraining"])
        for one in record.measurements
        if isinstance(one.facts.get("pretraining"), Mapping)
    ]


def pretraining_title(record: Record) -> str:
    """Return what was trained, in a few words."""
    return f"How {pretrained(record)[0][0].label} learned to write"


def pretraining_findings(record: Record) -> list[Block]:
    """Return in a sentence what each training reached."""
    return [
        Paragraph(text=pretraining_sentence(one), is_lead=True) for one, _ in pretrained(record)
    ]


def pretraining_sentence(measurement: Measurement) -> str:
    """Return what a training reached."""
    facts = measurement.facts["pretraining"]
    losses = facts["losses"]
    return (
        f"{measurement.label}, {facts['parameters']:,} parameters, trained {facts['steps'][-1]:,} "
        f"steps in {format_seconds(measurement.samples_s['training'][0])}: its loss fell from "
        f"{losses[0]:.2f} to {losses[-1]:.2f} nats a {facts['unit']}; on texts that it had not "
        f"read it is {facts['validation_loss']:.2f}."
    )


def pretraining_figures(record: Record) -> list[KeyFigure]:
    """Return the figures that a training is quoted by."""
    found = []
    for one, facts in pretrained(record):
        seconds = one.samples_s["training"][0]
        found += [
            KeyFigure(
                value=f"{math.exp(facts['validation_loss']):.1f}",
                label="perplexity",
                detail=f"a {facts['unit']}, of texts that it had not read",
            ),
            KeyFigure(
                value=format_number(facts["tokens_seen"] / seconds),
                label=f"{facts['unit']}s/s",
                detail=f"in training, {format_seconds(seconds)}",
            ),
        ]
    return found


def pretraining_section(record: Record) -> Section | None:
    """Return the curve of the loss, and a sample of what the model writes."""
    found = pretrained(record)
    if not found:
        return None
    blocks: list[Block] = []
    for one, facts in found:
        if len(facts["steps"]) > 1:
            blocks.append(Plots(charts=(_loss_chart(one.label, facts),)))
        blocks += [Note(text=text, word=f"{one.label} writes") for text in facts["samples"]]
    return Section(title="Learning to write", blocks=tuple(blocks))


def _loss_chart(name: str, facts: Mapping[str, Any]) -> CurveChart:
    steps, losses = facts["steps"], facts["losses"]
    points = tuple(Point(x=x, y=y) for x, y in zip(steps, losses, strict=True))
    return CurveChart(
        title=f"Loss of {name}",
        description="On the texts that it is trained on, step by step. Lower is better.",
        x_label="step",
        y_label=f"nats a {facts['unit']}",
        x_range=(0.0, float(steps[-1])),
        y_range=(float(math.floor(min(losses))), float(math.ceil(max(losses)))),
        series=(Series(name="", points=points),),
    )
