from dataclasses import replace

from sample_records import bench_record
from tune_records import tune_record

from ivme.report.building import build_document
from ivme.report.document import Paragraph, Plots, Table
from ivme.report.html import render_html
from ivme.report.sections.tuning import (
    discarded_table,
    pareto_chart,
    remark_table,
    start_table,
    tuning_findings,
    tuning_section,
    variant_table,
)


def cells(table: Table | None) -> dict[str, dict[str, str]]:
    """Return the rows by their first cell, each by the names of its columns."""
    assert table is not None
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_the_chosen_one_comes_first_with_speed_memory_quality_and_share_of_the_ceiling():
    table = variant_table(tune_record())
    assert table is not None
    assert [row[0] for row in table.rows] == [
        "openvino:bfloat16",
        "transformers:float32",
        "openvino:int8",
    ]
    chosen = cells(table)["openvino:bfloat16"]
    assert chosen["Verdict"] == "chosen"
    assert chosen["Times as fast"] == "8.00"
    assert chosen["95% interval"] == "7.14–9.09"  # noqa: RUF001 - the dash of ranges
    assert chosen["Texts/s"] == "80.0"
    assert chosen["Lost at most"] == "0.49%"
    assert chosen["Memory, MB"] == "500"
    assert chosen["Of ceiling"] == "80%"
    assert cells(table)["transformers:float32"]["Verdict"] == "slower, baseline"


def test_those_left_out_for_the_same_reason_share_a_row():
    assert discarded_table(tune_record()).rows == (
        ("transformers:float32", "8.0 times as slow as openvino:bfloat16"),
        ("openvino:int8", "loses"),
        ("torchao:int8; bitsandbytes:int8", "no budget left to try it"),
    )
    assert remark_table(tune_record()).rows == (("openvino:bfloat16", "the rest is in float32"),)
    assert cells(start_table(tune_record()))["openvino:int8"]["Export or compile"] == "2.00 s"


def test_the_finding_names_the_choice_its_speed_and_its_quality():
    (finding,) = tuning_findings(tune_record())
    assert isinstance(finding, Paragraph)
    assert finding.text == (
        "Chosen: openvino:bfloat16 · batch 1 · 2 threads, 8.00 times as fast as the baseline "
        "(7.14–9.09); agreement 100% on 600 texts, at most 0.49% lost."  # noqa: RUF001
    )


def test_without_a_choice_the_finding_says_so():
    record = tune_record()
    left = [one for one in record.measurements if one.facts["tune"]["status"] != "chosen"]
    (finding,) = tuning_findings(replace(record, measurements=tuple(left)))
    assert finding.text == "No variant was chosen; the table says why."


def test_the_pareto_chart_marks_the_choice_the_front_and_the_limit():
    chart = pareto_chart(tune_record())
    assert chart is not None
    points = {point.label: point for point in chart.points}
    assert chart.limit == 0.5
    assert set(points) == {"transformers:float32", "openvino:bfloat16", "openvino:int8"}
    assert all(point.is_front for point in points.values())
    assert points["openvino:bfloat16"].group == 0
    assert points["openvino:bfloat16"].size == 500_000_000
    assert (points["openvino:int8"].x, points["openvino:int8"].y) == (3.2, 12.5)


def test_other_records_have_no_such_section():
    assert tuning_section(bench_record()) is None
    assert tuning_findings(bench_record()) == []


def test_a_page_holds_the_section_and_its_chart():
    (part,) = build_document([tune_record()]).parts
    assert part.title == "The fastest way to run preset:bert-base"
    titles = [section.title for section in part.sections]
    assert "What was tried" in titles
    assert "Latency" not in titles
    assert isinstance(part.sections[titles.index("What was tried")].blocks[0], Plots)
    page = render_html(build_document([tune_record()]))
    assert "Speed, quality and memory" in page
