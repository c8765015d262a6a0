from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ivme.serve.sentences import split_sentences, utf16_offsets, windows


def parts(text: str) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text)]


def test_sentences_end_at_marks_before_space_and_at_lines():
    text = 'One is 3.14. "Two?" Three!\nFour'
    assert parts(text) == ["One is 3.14.", '"Two?"', "Three!", "Four"]


def test_sentences_end_at_marks_of_scripts_without_spaces():
    assert parts("これはペンです。あれは本です。") == ["これはペンです。", "あれは本です。"]


def test_blank_text_has_no_sentences():
    assert split_sentences(" \n\n ") == []


def test_offsets_count_utf16_code_units():
    text = "Hi 🎉. Çay içtik."
    assert utf16_offsets(text, split_sentences(text)) == [(0, 6), (7, 17)]


def test_a_window_is_a_sentence_with_its_neighbors():
    text = "A. B. C. D."
    assert windows(text, split_sentences(text)) == ["A. B.", "A. B. C.", "B. C. D.", "C. D."]


def test_many_sentences_are_joined_with_their_neighbors():
    text = "A. " * 1000
    spans = split_sentences(text, most=10)
    assert len(spans) == 10
    assert (spans[0].start, spans[-1].end) == (0, len(text) - 1)


@given(st.text())
def test_sentences_are_in_order_apart_and_hold_every_letter(text: str):
    spans = split_sentences(text)
    for before, after in pairwise(spans):
        assert before.end <= after.start
    kept = "".join(text[span.start : span.end] for span in spans)
    assert "".join(kept.split()) == "".join(text.split())


@given(st.text())
def test_offsets_cut_the_same_parts_out_of_utf16(text: str):
    spans = split_sentences(text)
    encoded = text.encode("utf-16-le", "surrogatepass")
    for span, (start, end) in zip(spans, utf16_offsets(text, spans), strict=True):
        found = encoded[2 * start : 2 * end].decode("utf-16-le", "surrogatepass")
        assert found == text[span.start : span.end]
