import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from sample_records import (
    bench_record,
    compare_record,
    doctor_record,
    measurement,
    sweep_versus_record,
    versus_record,
)

from ivme.report.building import build_document
from ivme.report.html import render_html

ATTACK = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'&\u202egnp\x00"
VOID = {"meta", "img", "br", "link"}


class Outline(HTMLParser):
    """Collects tags, attributes, headings and text, and checks that tags close in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.headings, self.open, self.text = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append([int(tag[1]), ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1][1] += data


def page_of(*records):
    return render_html(build_document(records))


def outline_of(*records):
    return Outline(page_of(*records))


ALL = (bench_record(), versus_record(), compare_record(), doctor_record(), sweep_versus_record())


def test_a_page_needs_nothing_but_itself():
    outline = outline_of(*ALL)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(outline.tags)
    links = [value for name, value in outline.attributes if name in ("href", "src", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    assert "url(" not in page_of(*ALL)
    assert "@import" not in page_of(*ALL)


def test_headings_descend_without_gaps():
    for outline in (outline_of(bench_record()), outline_of(*ALL)):
        levels = [level for level, _ in outline.headings]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_element_is_closed():
    assert outline_of(*ALL).open == []


def test_texts_of_a_record_stay_text():
    hostile = replace(measurement("pipeline", 8, 32), label=ATTACK, facts={ATTACK: ATTACK})
    other = replace(hostile, label="b", configuration={"model": ATTACK})
    broken = replace(hostile, label=ATTACK + "2", failure=ATTACK)
    finding = replace(
        versus_record().comparisons[0], variant=ATTACK, baseline=ATTACK, notes=(ATTACK,)
    )
    record = replace(
        versus_record(),
        kind=ATTACK,
        command=(ATTACK, ATTACK),
        created_at=ATTACK,
        machine={ATTACK: ATTACK, "processor": {"name": ATTACK}},
        versions={ATTACK: ATTACK, "torch": ATTACK},
        settings={ATTACK: [ATTACK]},
        notes=(ATTACK,),
        measurements=(hostile, other, broken),
        comparisons=(finding,),
    )
    outline = outline_of(record)
    assert not {"script", "img"} & set(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    text = "".join(outline.text)
    assert "<script>alert(1)</script>" in text
    assert "\u202e" not in text
    assert "\x00" not in text


def test_tables_scroll_in_a_box_of_their_own_and_have_captions():
    outline = outline_of(*ALL)
    assert outline.tags.count("table") == outline.tags.count("caption")
    boxes = [value for name, value in outline.attributes if (name, value) == ("class", "scroll")]
    assert len(boxes) == outline.tags.count("table")


def test_the_finding_stands_before_the_first_section():
    page = page_of(versus_record())
    assert page.index("1.08 times faster than pipeline") < page.index("<h2>")


def test_sections_follow_the_data_not_the_command():
    def titles(record):
        return [title for level, title in outline_of(record).headings if level == 2]

    assert titles(bench_record()) == [
        "The model",
        "Latency",
        "Throughput and memory",
        "Every call",
        "What failed",
        "Measure it again",
        "Machine, versions and settings",
    ]
    assert titles(doctor_record())[:2] == ["Advice", "Measured ceilings"]
    assert titles(replace(bench_record(), kind="tune")) == titles(bench_record())


def test_stages_show_their_share_of_a_call():
    measured = measurement("transformers", 1, 32)
    staged = {
        **measured.samples_s,
        "latency": (0.1,) * 6,
        "encode": (0.01,) * 6,
        "forward": (0.08,) * 6,
    }
    record = replace(bench_record(), measurements=(replace(measured, samples_s=staged),))
    page = page_of(record)
    assert "Stages of a call" in page
    assert '<td class="number">10%</td>' in page


def test_an_interrupted_run_and_failures_are_said_on_top():
    assert "The run was interrupted" in page_of(compare_record())
    page = page_of(bench_record())
    assert page.index("1 of 18 configurations failed") < page.index("<h2>")
    assert "out of memory: 9.1 GB asked for" in page


def test_an_unclean_control_is_a_warning():
    page = page_of(versus_record("undecided", 0.97, clean=False))
    assert '<div class="note warning"' in page
    assert "shows a difference where there is" in page


@pytest.mark.parametrize("kind", ["bench", "ensemble"])
def test_a_record_without_data_still_has_a_page(kind):
    empty = replace(
        bench_record(), kind=kind, measurements=(), notes=(), machine={}, versions={}, settings={}
    )
    assert [title for _, title in outline_of(empty).headings] == [
        f"ivme {kind}",
        "Measure it again",
    ]


def test_many_comparisons_are_summed_up():
    page = page_of(sweep_versus_record())
    assert "6 paired comparisons of transformers with pipeline: faster in 3, same in 1" in page
    assert "All 6 A/A controls" in page


def test_throughput_of_mixed_texts_says_how_it_counts():
    how = "throughput is all texts over all of their time"
    assert how in page_of(compare_record())
    assert how not in page_of(bench_record())
