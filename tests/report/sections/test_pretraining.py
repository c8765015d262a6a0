from dataclasses import replace

from sample_records import CREATED_AT, MACHINE, VERSIONS, bench_record

from ivme.measure.records import Measurement, Record
from ivme.report.building import build_part
from ivme.report.charts.drawing import draw
from ivme.report.document import Plots
from ivme.report.sections.pretraining import (
    pretraining_figures,
    pretraining_findings,
    pretraining_section,
)


def pretraining_record(steps: tuple[int, ...] = (1, 2, 4)) -> Record:
    facts = {
        "parameters": 801_088,
        "unit": "character",
        "steps": list(steps),
        "losses": [4.7, 3.1, 2.25][: len(steps)],
        "validation_loss": 2.0,
        "tokens_seen": 30_000,
        "samples": ["The first text.", "The second <b>text</b>."],
    }
    measurement = Measurement(
        label="MM-Rec",
        configuration={"writer": "mm-rec-1m-char"},
        samples_s={"training": (12.0,), "writing": (5.0,)},
        facts={"pretraining": facts},
    )
    return Record(
        kind="pretrain",
        command=("ivme", "demo"),
        created_at=CREATED_AT,
        machine=MACHINE,
        versions=VERSIONS,
        settings={},
        measurements=(measurement,),
    )


def test_the_report_says_first_how_far_the_loss_fell():
    part = build_part(pretraining_record())
    assert part.title == "How MM-Rec learned to write"
    assert part.blocks[0].text == (
        "MM-Rec, 801,088 parameters, trained 4 steps in 12.0 s: its loss fell from 4.70 to 2.25 "
        "nats a character; on texts that it had not read it is 2.00."
    )


def test_its_figures_are_perplexity_and_speed():
    perplexity, speed = pretraining_figures(pretraining_record())
    assert (perplexity.value, perplexity.label) == ("7.4", "perplexity")
    assert (speed.value, speed.label) == ("2,500", "characters/s")


def test_the_curve_is_drawn_and_the_texts_are_shown():
    plots, *notes = pretraining_section(pretraining_record()).blocks
    assert isinstance(plots, Plots)
    [chart] = plots.charts
    assert chart.y_range == (2.0, 5.0)
    assert "<svg" in draw(chart)
    assert [one.text for one in notes] == ["The first text.", "The second <b>text</b>."]


def test_one_step_makes_no_curve():
    blocks = pretraining_section(pretraining_record(steps=(1,))).blocks
    assert not any(isinstance(one, Plots) for one in blocks)


def test_other_records_have_none_of_it():
    other = replace(bench_record(), comparisons=())
    assert pretraining_section(other) is None
    assert pretraining_findings(other) == []
    assert pretraining_figures(other) == []
