import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.ensemble.style import LARGEST, StyleBlock, measure_style, style_names


def figures_of(text: str) -> dict[str, float]:
    return dict(zip(style_names(), measure_style(text), strict=True))


def test_sentences_and_words_are_measured_in_words_and_letters():
    found = figures_of("I ran. Then we all stopped, didn't we? Yes!")
    assert found["sentence length"] == pytest.approx((2 + 6 + 1) / 3)
    assert found["burstiness"] == pytest.approx(np.std([2, 6, 1]) / 3)
    assert found["sentence length change"] == pytest.approx((4 + 5) / 2 / 3)
    assert found["word length"] == pytest.approx((1 + 3 + 4 + 2 + 3 + 7 + 6 + 2 + 3) / 9)
    assert found["apostrophes"] == pytest.approx(1 / 9)
    assert found["commas"] == found["questions"] == found["exclamations"] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("text", "figure", "expected"),
    [
        ("Wait... what", "ellipses", 1 / 2),
        ("Wait... what", "periods", 0.0),
        ("no way!!", "repeated marks", 1 / 2),
        ("one,two", "missing blanks", 1 / 2),
        ("one , two", "blanks before marks", 1 / 2),
        ("well-known - so", "hyphens", 1 / 3),
        ("well-known - so", "dashes", 1 / 3),
        ("then i left", "small i", 1 / 3),
        ("STOP It", "shouted words", 1 / 2),
        ("Go on. stop", "small sentence starts", 1 / 2),
        ("We ran. We fell.", "same sentence starts", 1.0),
        ("a b a b", "repeated pairs", 1 / 3),
        ("a b a b", "variety of words", 1 / 2),
        ("abc 1", "digits", 1 / 4),
        ("na\u00efve", "letters outside ASCII", 1 / 5),
    ],
)
def test_a_habit_shows_in_its_figure(text, figure, expected):
    assert figures_of(text)[figure] == pytest.approx(expected)


def test_rates_do_not_change_when_a_text_is_said_twice():
    text = "Some of us left early, others stayed; nobody minded. " * 10
    once, twice = figures_of(text.strip()), figures_of((text + text).strip())
    assert once["commas"] == pytest.approx(twice["commas"])
    assert once["variety of words"] == pytest.approx(twice["variety of words"])


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_any_text_has_finite_figures(text):
    found = measure_style(text)
    assert found.shape == (len(style_names()),)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_what_is_far_from_the_mean_counts_no_more_than_the_largest():
    count = len(style_names())
    block = StyleBlock(
        names=style_names(), means=np.zeros(count), deviations=np.full(count, 1e-6), weight=0.5
    )
    assert block.weigh("word, word").max() == 0.5 * LARGEST


def test_a_block_that_cannot_be_is_refused():
    block = StyleBlock(names=("commas",), means=np.ones(1), deviations=np.ones(1), weight=1.0)
    good = block.to_values()
    assert StyleBlock.from_values(good).to_values() == good
    with pytest.raises(ValueError, match="1 figures of style with 2 means"):
        StyleBlock.from_values({**good, "means": [1.0, 2.0]})
    with pytest.raises(ValueError, match="that cannot be"):
        StyleBlock.from_values({**good, "deviations": [0.0]})
