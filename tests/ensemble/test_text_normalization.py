import pytest

from ivme.ensemble.text_normalization import normalized


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain  text,\n\nas it\tis ", "plain text, as it is"),
        ("inv\u200bis\u00adible\ufeff", "invisible"),
        ("p\u0430ssw\u043erd \u0410nd \u0397ere", "password And Here"),
        ("\u201cquoted\u201d \u2018it\u2019s\u2019 a\u2014b", "\"quoted\" 'it's' a-b"),
        ("\uff46\uff55\uff4c\uff4c", "full"),
    ],
)
def test_a_disguise_is_undone(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize("text", ["Привет, мир", "Ελλάδα και", "ışık ve gölge", "中文 😀"])  # noqa: RUF001
def test_other_alphabets_stay_what_they_are(text):
    assert normalized(text) == text


def test_a_lone_surrogate_stays():
    assert normalized("\ud800 x") == "\ud800 x"
