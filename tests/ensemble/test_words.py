import pytest

from ivme.ensemble.words import count_words, has_fewer_words, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \t\n", 0),
        ("one", 1),
        ("It's a well-known fact, isn't it?", 6),
        ("3.14 and 1e-5", 4),
        ("İstanbul'da çay içtik; naïve café", 5),
        ("cafe\u0301 au lait", 3),
        ("हिन्दी में लिखा", 3),
        ("안녕하세요 여러분", 2),
        ("你好世界", 2),
        ("我们今天学习 Python 语言", 5),
        ("ありがとうございます。", 5),
        ("ภาษาไทยง่ายนิดเดียว", 4),
        ("🎉🎉 !!! ...", 0),
        ("\x00\x01\x02", 0),
        ("snake_case", 1),
    ],
)
def test_words_are_counted_in_scripts_with_and_without_spaces(text: str, words: int) -> None:
    assert count_words(text) == words
    assert not has_fewer_words(text, words)
    assert has_fewer_words(text, words + 1)


def test_a_text_of_many_words_counts_them_all() -> None:
    assert count_words("word " * 350) == 350
    assert count_words("字" * 100) == 50


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It's a  fact,\nno?", ["It's", "a", "fact,", "no?"]),
        ("我们今天 Python语言。", ["我们", "今天", "Python", "语言", "。"]),
        ("ภาษาไทยง่าย", ["ภาษา", "ไทยง่", "าย"]),
        (" \t", []),
    ],
)
def test_spans_hold_all_but_blanks_and_divide_what_has_none(text: str, parts: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == parts
