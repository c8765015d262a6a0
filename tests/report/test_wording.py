from dataclasses import replace

import pytest
from sample_records import comparison

from ivme.report.wording import comparison_sentence, control_sentence, date_text, names_of


def test_a_faster_variant_is_told_by_its_speedup():
    finding = replace(
        comparison("a", 1 / 1.08, "faster", baseline="b"), interval=(1 / 1.11, 1 / 1.05)
    )
    assert comparison_sentence(finding) == (
        "a is 1.08 times faster than b (95% interval 1.05–1.11); verdict: faster."  # noqa: RUF001
    )


def test_a_slower_variant_is_told_by_its_slowdown():
    finding = replace(comparison("a", 1.1, "slower", baseline="b"), interval=(1.08, 1.13))
    assert "a is 1.10 times slower than b (95% interval 1.08–1.13)" in (  # noqa: RUF001
        comparison_sentence(finding)
    )


def test_same_names_the_margin():
    finding = replace(comparison("a", 1.0, "same"), interval=(0.99, 1.01))
    assert "inside the margin of 2%; verdict: same" in comparison_sentence(finding)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"interval": (0.95, 1.05)}, "neither shown nor ruled out: measure longer"),
        ({"interval": (0.8, 0.9), "control_is_clean": False}, "the A/A control is not clean"),
        ({"interval": (0.8, 0.9)}, "for the reason noted below"),
    ],
)
def test_undecided_gives_the_reason_that_holds(change, reason):
    finding = replace(comparison("a", 0.98, "undecided"), **change)
    assert reason in comparison_sentence(finding)


def test_what_both_labels_end_in_is_named_once():
    finding = comparison(
        "a · batch 8 · 32 tokens", 0.9, "faster", baseline="b · batch 8 · 32 tokens"
    )
    names = names_of(finding)
    assert (names.variant, names.baseline, names.point) == ("a", "b", "batch 8 · 32 tokens")
    assert "faster than b at batch 8 · 32 tokens" in comparison_sentence(finding)


def test_labels_that_are_all_alike_keep_a_name():
    assert names_of(comparison("a", 0.9, "faster", baseline="a")).variant == "a"


def test_an_unclean_control_warns():
    assert "do not rely on" in control_sentence(comparison("a", 0.9, "undecided", clean=False))
    assert "is clean: 0.996–1.005" in control_sentence(comparison("a", 0.9, "faster"))  # noqa: RUF001


def test_a_date_that_is_none_stays_as_it_is():
    assert date_text("2026-11-20T08:49:00+00:00") == "20 November 2026, 08:49 UTC"
    assert date_text("yesterday") == "yesterday"
