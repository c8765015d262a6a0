import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import bench_record, compare_record, doctor_record, sweep_versus_record

from ivme.report.building import build_document
from ivme.report.charts.canvas import WIDTH, shorten, text_width
from ivme.report.charts.drawing import draw, draw_standalone
from ivme.report.charts.specifications import Bar, BarChart, LineChart, Point, Series
from ivme.report.document import Plots

RECORDS = (bench_record(), compare_record(), doctor_record(), sweep_versus_record())


def charts_of(records):
    for part in build_document(records).parts:
        for section in part.sections:
            for block in section.blocks:
                if isinstance(block, Plots):
                    yield from block.charts


CHARTS = list(charts_of(RECORDS))


def test_every_kind_of_chart_is_drawn_from_the_samples():
    assert {type(chart).__name__ for chart in CHARTS} == {
        "BarChart",
        "ForestChart",
        "LineChart",
        "SequenceChart",
        "StripChart",
    }


@pytest.mark.parametrize("index", range(len(CHARTS)))
def test_nothing_is_drawn_outside_of_the_chart(index):
    root = ET.fromstring(draw(CHARTS[index]))
    height = float(root.get("viewBox").split()[3])
    for element in root.iter():
        for name in ("x", "cx", "x1", "x2"):
            assert -1 <= float(element.get(name, 0)) <= WIDTH + 1
        for name in ("y", "cy", "y1", "y2"):
            assert -1 <= float(element.get(name, 0)) <= height


def test_a_chart_says_in_words_what_it_shows():
    chart = LineChart(
        title="Latency by batch size",
        description="",
        x_label="batch size",
        y_label="ms",
        series=(Series(name="eager", points=(Point(x=1, y=20.0), Point(x=8, y=90.0))),),
    )
    label = ET.fromstring(draw(chart)).get("aria-label")
    assert label == "Latency by batch size. ms by batch size: eager (1: 20.0, 8: 90.0)."


def test_a_file_brings_its_colors_and_its_background():
    root = ET.fromstring(draw_standalone(CHARTS[0]))
    assert "prefers-color-scheme: dark" in root[0].text
    assert root[1].get("class") == "page"


@settings(max_examples=40, deadline=None)
@given(st.text(), st.floats(min_value=0, max_value=1e12))
def test_any_label_gives_valid_xml(label, value):
    bars = (Bar(label=label, value=value, text=label),)
    chart = BarChart(title=label, description=label, x_label=label, bars=bars)
    assert ET.fromstring(draw(chart)).get("role") == "img"


@given(st.text(min_size=1), st.floats(min_value=40, max_value=400))
def test_a_shortened_label_fits(text, width):
    assert text_width(shorten(text, width, 12), 12) <= width


def test_a_shortened_label_keeps_both_ends():
    assert shorten("transformers · batch 8 · 128 tokens", 120, 12) == "transfor…8 tokens"
