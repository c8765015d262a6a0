from dataclasses import replace

import pytest
from sample_records import bench_record, measurement, versus_record

from ivme.report.building import build_document
from ivme.report.escaping import escape_markdown
from ivme.report.markdown import render_markdown


def rendered(*records):
    return render_markdown(build_document(records), "report_files")


def test_every_chart_is_linked_and_there():
    text, charts = rendered(bench_record())
    assert charts
    for name, chart in charts.items():
        assert f"](<report_files/{name}>)" in text
        assert chart.startswith("<svg ")


def test_tables_are_whole():
    lines = rendered(versus_record())[0].splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("| ---")]
    assert rules
    for index in rules:
        columns = lines[index].count("|")
        assert lines[index - 1].count("|") == columns
        assert lines[index + 1].count("|") == columns


def test_a_label_cannot_leave_its_cell():
    hostile = replace(measurement("pipeline", 1, 32), label="a | b\n# c <script> [x](y)")
    text, _ = rendered(replace(versus_record(), measurements=(hostile,), comparisons=()))
    assert "| a \\| b # c &lt;script&gt; \\[x\\](y) |" in text
    assert "\n# c" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("bert_tiny", "bert_tiny"),
        ("_so_", "\\_so\\_"),
        ("a*b", "a\\*b"),
        ("![x](http://y)", "!\\[x\\](http://y)"),
        ("a\r\nb", "a b"),
        ("\x1b[31m", "\ufffd\\[31m"),
    ],
)
def test_marks_of_markdown_are_escaped(text, escaped):
    assert escape_markdown(text) == escaped


def test_a_command_cannot_close_its_fence():
    text, _ = rendered(replace(versus_record(), command=("ivme", "```\n# x")))
    assert "\n# x" not in text
    assert "````sh\n" in text
