from random import Random

import pytest

from ivme.ensemble.augmentation import (
    CHANGES,
    augmented,
    cropped,
    disguised,
    misspelled,
    with_shuffled_sentences,
    without_marks,
)

TEXT = "It was the best of times, it was a worse one. Nobody knew! " * 5


def test_a_crop_is_a_run_of_the_words():
    for seed in range(20):
        part = cropped(TEXT, Random(seed))
        assert part in TEXT
        assert len(part.split(" ")) >= 40


def test_short_texts_are_not_cut():
    assert cropped("four words or so", Random(0)) == "four words or so"


def test_typing_errors_change_words_but_not_their_number():
    changed = misspelled(TEXT, Random(1))
    assert changed != TEXT
    assert len(changed.split(" ")) == len(TEXT.split(" "))


def test_sentences_are_only_reordered():
    changed = with_shuffled_sentences(TEXT.strip(), Random(0))
    assert sorted(changed.split()) == sorted(TEXT.split())


def test_marks_are_left_out():
    assert without_marks("Well, it's (so) done!", Random(0)) == "Well its so done"


@pytest.mark.parametrize("text", ["", "a", "\ud800", "😀 !", "ab cd"])
def test_any_text_has_every_variant(text):
    for change, _ in CHANGES:
        assert isinstance(change(text, Random(0)), str)


def test_variants_follow_the_texts_and_the_seed():
    texts = [TEXT, TEXT[:200]]
    found = augmented(texts, 2, seed=3)
    assert found[:2] == texts
    assert len(found) == 6
    assert found == augmented(texts, 2, seed=3)
    assert found != augmented(texts, 2, seed=4)
    assert augmented(texts, 0) == texts


def test_a_disguised_text_is_changed_but_not_cut_short():
    text = ", the ".join(f"Word{number}" for number in range(100))
    found = [disguised(text, Random(seed)) for seed in range(60)]
    assert sum(one != text for one in found) > 50
    assert min(len(one.split()) for one in found) > 130
