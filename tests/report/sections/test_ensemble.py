import dataclasses

from ensemble_records import ensemble_record
from sample_records import bench_record

from ivme.report.building import build_part
from ivme.report.charts.drawing import draw
from ivme.report.charts.specifications import BarChart, CurveChart
from ivme.report.document import Plots, Table
from ivme.report.sections.ensemble import (
    domain_table,
    ensemble_findings,
    ensemble_section,
    judge_table,
    member_table,
)
from ivme.report.sections.ensemble_charts import domain_charts, reliability_chart, roc_chart


def test_the_report_says_first_what_all_members_together_reach():
    part = build_part(ensemble_record())
    assert part.title == "How well the ensemble tells AI from Human"
    lead = part.blocks[0].text
    assert lead.startswith("On 200 texts of test.csv, stacking chooses the right label 93.0%")
    assert "AUROC 0.985 (0.980–0.990)" in lead  # noqa: RUF001 - the dash of ranges
    assert "it finds 87.0%" in lead
    assert "that are AI, and takes 1.0%" in lead


def test_without_thresholds_nothing_is_said_of_them():
    record = ensemble_record(has_stacking=False)
    (lead,) = ensemble_findings(record)
    assert "majority vote chooses" in lead.text
    assert "threshold" not in lead.text
    assert not any("TPR" in name for name in judge_table(record).columns)
    assert domain_charts(record) == ()


def test_the_table_has_a_row_for_each_that_judges():
    table = judge_table(ensemble_record())
    assert [row[0] for row in table.rows] == ["BERT", "GLM", "majority vote", "stacking"]
    cells = dict(zip(table.columns, table.rows[2], strict=True))
    assert cells["TPR at 1%"] == "–"  # noqa: RUF001 - the dash of tables
    assert dict(zip(table.columns, table.rows[0], strict=True))["Texts/s"] == "50.0"


def test_a_domain_of_one_label_has_no_auroc_but_its_other_figures():
    table = domain_table(ensemble_record())
    assert table.caption == "Stacking, by domain"
    review = dict(zip(table.columns, table.rows[1], strict=True))
    assert review["AUROC"] == "–"  # noqa: RUF001 - the dash of tables
    assert review["Accuracy"] == "93.0%"
    assert member_table(ensemble_record()).columns[1:] == (
        "BERT",
        "GLM",
        "majority vote",
        "stacking",
    )


def test_curves_leave_out_votes():
    chart = roc_chart(ensemble_record())
    assert [one.name for one in chart.series] == ["BERT", "GLM", "stacking"]
    assert "87.0 at 1.00" in draw(chart)
    assert reliability_chart(ensemble_record()).title == "Calibration of stacking"


def test_bars_are_of_domains_and_lengths_with_texts_to_be_found():
    by_length = domain_charts(ensemble_record())
    assert [one.title for one in by_length] == ["True positives at 1% false, by number of words"]


def test_the_section_is_drawn_whole_and_other_records_have_none():
    section = ensemble_section(ensemble_record())
    charts = [
        chart for block in section.blocks if isinstance(block, Plots) for chart in block.charts
    ]
    assert [type(one) for one in charts] == [CurveChart, CurveChart, BarChart]
    assert all("<svg" in draw(one) for one in charts)
    assert sum(isinstance(block, Table) for block in section.blocks) == 4
    assert ensemble_section(bench_record()) is None
    assert ensemble_findings(bench_record()) == []


def test_one_domain_and_one_length_need_no_tables():
    record = ensemble_record()
    plain = dataclasses.replace(
        record, settings={**record.settings, "domains": {}, "lengths": {"under 50": 200}}
    )
    tables = [one for one in ensemble_section(plain).blocks if isinstance(one, Table)]
    assert [one.caption for one in tables] == ["All 200 texts"]
