import dataclasses

import pytest

from ivme.errors import IvmeError
from ivme.evidence.readers import read_figure
from ivme.measure.verdict import CONTROL, judge


def fact(label, value, low, high, samples, note=None):
    facts = {"value": value, "low": low, "high": high, "samples": samples, "note": note}
    return {"label": label, "facts": facts}


SECONDS = {"before": [4.0, 4.2], "after": [2.0, 2.1], "best": [1.0, 1.0], CONTROL: [4.0, 4.2]}
BLOCKS = [{"seconds": SECONDS} for _ in range(10)]
COMPARISONS = [dataclasses.asdict(judge(BLOCKS, "before", name)) for name in ("after", "best")]
RECORD = {
    "settings": {"seeds": 3},
    "comparisons": COMPARISONS,
    "rows": [
        {"name": "cache", "skipped": None, "comparisons": COMPARISONS},
        {"name": "GPU", "skipped": "no GPU", "comparisons": []},
    ],
    "measurements": [
        fact("saved", 30.0, 29.0, 31.0, 20),
        fact("counted", 4.0, 4.0, 4.0, 0),
        fact("once", 4.0, 4.0, 4.0, 1),
        fact("twice", 4.0, 3.0, 5.0, 2),
        fact("noisy", 4.0, 3.0, 5.0, 20, "it was not quiet"),
        {"label": "wide", "facts": {}, "peak_memory_bytes": 200},
        {"label": "narrow", "facts": {}, "peak_memory_bytes": 150},
        {
            "label": "uboo against baseline",
            "facts": {
                "findings": [
                    {
                        "name": "steps to a loss of 1.9",
                        "baseline": 100,
                        "uboo": 80,
                        "ratio": 0.8,
                        "interval": [0.7, 0.9],
                    }
                ]
            },
        },
    ],
}


def read(**figure):
    return read_figure(RECORD, figure)


def test_a_comparison_gives_speed_time_or_what_was_saved():
    ways = {"baseline": "before", "variant": "after", "reader": "comparison"}
    assert read(**ways, gives="times as fast").value == pytest.approx(2)
    assert read(**ways, gives="time").value == pytest.approx(0.5)
    assert read(**ways, gives="percent saved").value == pytest.approx(50)
    assert read(**ways, gives="percent more").value == pytest.approx(-50)
    saved = read(**ways, gives="seconds saved")
    assert saved.value == pytest.approx(2.05)
    assert saved.low <= saved.value <= saved.high
    assert (saved.before, saved.after, saved.unit) == (pytest.approx(4.1), pytest.approx(2.05),
                                                       "seconds")  # fmt: skip


def test_intervals_are_turned_with_their_figure():
    figure = read_figure(
        {"comparisons": [{**COMPARISONS[0], "ratio": 0.5, "interval": [0.4, 0.8]}]},
        {
            "reader": "comparison",
            "baseline": "before",
            "variant": "after",
            "gives": "times as fast",
        },
    )
    assert (figure.low, figure.high) == (pytest.approx(1.25), pytest.approx(2.5))


def test_two_ways_are_compared_though_both_were_held_against_a_third():
    ways = {"baseline": "after", "variant": "best", "reader": "comparison"}
    assert read(**ways, gives="times as fast").value == pytest.approx(2.05, rel=0.05)
    turned = read(reader="comparison", baseline="best", variant="before", gives="percent more")
    assert turned.value == pytest.approx(310, rel=0.02)
    assert turned.note is None  # the control is of another baseline than the two


@pytest.mark.parametrize("baseline", ["before", "best"])
def test_an_unquiet_machine_is_remarked_on(baseline):
    unclean = [{**one, "control_is_clean": False} for one in COMPARISONS]
    figure = read_figure(
        {"comparisons": unclean},
        {"reader": "comparison", "baseline": baseline, "variant": "after", "gives": "time"},
    )
    assert figure.note == "the A/A control differed from itself: the machine was not quiet"


def test_too_few_blocks_are_remarked_on():
    few = dataclasses.asdict(judge(BLOCKS[:6], "before", "after"))
    content = {"rows": [{"name": "cache", "skipped": None, "comparisons": [few]}]}
    ways = {"baseline": "before", "variant": "after", "gives": "time"}
    for figure in (
        {"reader": "row", "row": "cache", **ways},
        {"reader": "row seconds", "parts": [{"row": "cache", "way": "after"}]},
    ):
        assert read_figure(content, figure).note.startswith("too few blocks for a verdict, 6 of 7")
    content["rows"][0]["comparisons"] = [dataclasses.asdict(judge(BLOCKS[:7], "before", "after"))]
    assert read_figure(content, {"reader": "row", "row": "cache", **ways}).note is None


def test_few_samples_have_a_range_and_one_has_none():
    assert read(reader="fact", name="counted").is_counted
    saved, twice = (read(reader="fact", name=name) for name in ("saved", "twice"))
    assert (saved.is_counted, saved.range_of, saved.note) == (False, None, None)
    assert twice.range_of == 2
    assert read(reader="fact", name="once").note.startswith("one sample")
    assert read(reader="fact", name="noisy").note == "it was not quiet"


def test_rows_are_read_and_their_seconds_summed():
    row = read(reader="row", row="cache", baseline="before", variant="best", gives="times as fast")
    assert row.value == pytest.approx(4.1, rel=0.03)
    parts = [{"row": "cache", "way": "before"}, {"row": "cache", "way": "best", "times": 2}]
    assert read(reader="row seconds", parts=parts).value == pytest.approx(6.1)
    parts[1]["times"] = -1
    less = read(reader="row seconds", parts=parts)
    assert less.value == pytest.approx(3.1)
    assert less.low <= less.value <= less.high


def test_facts_memory_and_findings_are_read():
    assert read(reader="fact", name="saved").low == 29
    memory = read(reader="memory", before="wide", after="narrow")
    assert (memory.value, memory.unit) == (25, "bytes")
    assert not memory.is_counted
    finding = read(reader="finding", name="steps to a loss", gives="percent saved")
    assert finding.value == pytest.approx(20)
    assert finding.range_of == 3
    assert (finding.low, finding.high) == (pytest.approx(10), pytest.approx(30))


@pytest.mark.parametrize(
    "figure",
    [
        {"reader": "fact", "name": "gone"},
        {"reader": "fact", "nom": "saved"},
        {"reader": "comparison", "baseline": "before", "variant": "gone", "gives": "time"},
        {"reader": "comparison", "baseline": "before", "variant": "after", "gives": "pounds"},
        {"reader": "row", "row": "GPU", "baseline": "a", "variant": "b", "gives": "time"},
        {"reader": "row seconds", "parts": [{"row": "cache", "way": "gone"}]},
        {"reader": "finding", "name": "luck", "gives": "time"},
    ],
)
def test_a_figure_that_the_record_lacks_is_an_error(figure):
    with pytest.raises(IvmeError, match=r"the record does not hold the figure {'reader'"):
        read_figure(RECORD, figure)
