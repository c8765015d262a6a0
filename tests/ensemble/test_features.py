import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivme.ensemble.features import (
    TABLED_COUNTS,
    NgramBlock,
    NgramSettings,
    TfidfFeatures,
    features_from_json,
)
from ivme.ensemble.trainers.tfidf_fitting import features_of_vectorizer, fit_features
from ivme.errors import UsageError

TEXTS = [
    "The cat sat on the mat. The end, isn't it?",
    "the end of the day\n\n\tis the end of the cat",
    "İstanbul'da ÇOK güzel bir gün; ışık ve gölge",  # noqa: RUF001 (Turkish)
    "Güzel bir gün, çok güzel bir İSTANBUL",
    "中文字符 测试 中文字符",
    "测试 emoji 😀😀 and the mat",
    "x y z 42 4_2 ___ naïve café",
    "naïve café 42 😀😀",
]
HOSTILE = [
    "",
    "a",
    "end",
    " ",
    "\ud800 lone \udfff",
    "\x00\x01\x7f the\x00end",
    "😀",
    "e\u0301 ff ǅ",
]
KINDS = [
    NgramSettings(min_texts=1),
    NgramSettings(shortest=2, longest=3, min_texts=1, is_sublinear=True),
    NgramSettings(splitting="token", longest=3, min_texts=1, keeps_case=True),
    NgramSettings(splitting="char", shortest=1, longest=4, max_features=300),
    NgramSettings(splitting="char_wb", shortest=2, longest=5, max_features=300, min_texts=1),
]


def vectorizer_of(kind: NgramSettings):
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="word" if kind.splitting == "token" else kind.splitting,
        token_pattern=r"(?u)\w+|[^\w\s]" if kind.splitting == "token" else r"(?u)\b\w\w+\b",
        lowercase=not kind.keeps_case,
        ngram_range=(kind.shortest, kind.longest),
        max_features=kind.max_features,
        min_df=kind.min_texts,
        sublinear_tf=kind.is_sublinear,
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.splitting}-{kind.longest}")
def test_values_are_those_of_scikit_learn_to_the_last_bit(kind):
    vectorizer = vectorizer_of(kind).fit(TEXTS)
    expected = vectorizer.transform(TEXTS + HOSTILE)
    expected.sort_indices()
    rows = fit_features(TEXTS, [kind]).transform_batch(TEXTS + HOSTILE)
    assert np.array_equal(rows.starts, expected.indptr)
    assert np.array_equal(rows.indices, expected.indices)
    assert np.array_equal(rows.values, expected.data)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_has_the_features_that_scikit_learn_gives_it(text):
    for kind in KINDS:
        vectorizer = vectorizer_of(kind).fit([*TEXTS, "ab ab cd"])
        features = features_of_vectorizer(vectorizer)
        row = features.transform(text)
        assert np.array_equal(row.to_dense(), vectorizer.transform([text]).toarray())


def test_kinds_of_ngrams_stand_side_by_side():
    words, characters = KINDS[0], KINDS[3]
    both = fit_features(TEXTS, [words, characters])
    apart = [fit_features(TEXTS, [kind]) for kind in (words, characters)]
    dense = [one.transform_batch(TEXTS).to_dense() for one in apart]
    assert np.array_equal(both.transform_batch(TEXTS).to_dense(), np.hstack(dense))
    assert both.names == apart[0].names + apart[1].names


def test_names_tell_kinds_apart_and_can_be_printed():
    features = fit_features(["a\tb\\ \ud800", "a\tb\\ \ud800"], [KINDS[3]])
    assert len(set(features.names)) == features.count
    assert all(name.isprintable() and name.startswith("char:") for name in features.names)


def test_features_survive_json_with_lone_surrogates():
    features = fit_features([*TEXTS, *HOSTILE], [KINDS[0], KINDS[3]])
    again = features_from_json(features.to_json(), "features.json")
    assert again.content_hash == features.content_hash
    assert np.array_equal(
        again.transform("the end \ud800").to_dense(),
        features.transform("the end \ud800").to_dense(),
    )


def test_the_hash_follows_every_weight():
    features = fit_features(TEXTS, [KINDS[0]])
    other = TfidfFeatures((*features.blocks, *fit_features(TEXTS, [KINDS[1]]).blocks))
    changed = features.to_json().replace('"is_sublinear": false', '"is_sublinear": true')
    assert len({features.content_hash, other.content_hash}) == 2
    assert features_from_json(changed, "features.json").content_hash != features.content_hash


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no TF-IDF features"),
        ("[]", "holds no TF-IDF features"),
        ('{"format": "other", "version": 2, "blocks": []}', "is not of format 'ivme.tfidf'"),
        ('{"format": "ivme.tfidf", "version": 9, "blocks": []}', "version 2"),
        (
            '{"format": "ivme.tfidf", "version": 2, "blocks": '
            '[{"settings": {}, "ngrams": ["a", "b"], "idf": [1.0]}]}',
            "2 n-grams with 1 inverse frequencies",
        ),
        (
            '{"format": "ivme.tfidf", "version": 2, "blocks": '
            '[{"settings": {}, "ngrams": ["a"], "idf": [NaN]}]}',
            "a weight that is no number",
        ),
    ],
)
def test_files_that_hold_no_features_are_refused_by_name(content, message):
    with pytest.raises(UsageError, match=message) as raised:
        features_from_json(content, "/models/features.json")
    assert "/models/features.json" in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"splitting": "syllable"}, "splitting='syllable'; expected one of"),
        ({"shortest": 3, "longest": 2}, "shortest=3 to longest=2"),
        ({"longest": 99}, "longest=99"),
        ({"max_features": 0}, "max_features=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        NgramSettings(**wrong)


def test_texts_without_common_ngrams_say_what_to_do():
    with pytest.raises(UsageError, match="give more texts, or lower min_texts"):
        fit_features(["one two", "three four"], [NgramSettings()])


def test_vectorizers_with_other_options_are_refused():
    from sklearn.feature_extraction.text import TfidfVectorizer

    fitted = TfidfVectorizer(stop_words="english").fit(TEXTS)
    with pytest.raises(UsageError, match="stop_words='english'"):
        features_of_vectorizer(fitted)


def test_words_of_any_length_and_alphabet_are_told_apart():
    texts = ["abcdefg abcdefgh 测试测试测试测试 测试测试测试测验 \xfe\xff \xff\xfe a", "x y"] * 2
    kinds = [KINDS[2], NgramSettings(splitting="char", longest=12, max_features=5000)]
    for kind in kinds:
        vectorizer = vectorizer_of(kind).fit(texts)
        expected = vectorizer.transform(texts).toarray()
        assert np.array_equal(
            fit_features(texts, [kind]).transform_batch(texts).to_dense(), expected
        )


def test_an_ngram_that_is_there_twice_is_refused():
    block = NgramBlock(settings=KINDS[0], ngrams=("the end", "the end"), idf=np.ones(2))
    with pytest.raises(ValueError, match="ngrams: expected each of them once"):
        block.weigh("the end")


def test_very_common_ngrams_weigh_the_logarithm_of_their_count():
    count = 3 * TABLED_COUNTS
    columns, weights = NgramBlock(
        settings=NgramSettings(is_sublinear=True), ngrams=("ab", "once"), idf=np.ones(2)
    ).weigh("ab " * count + "once")
    assert columns.tolist() == [0, 1]
    assert weights[0] / weights[1] == pytest.approx(np.log(count) + 1, rel=1e-12)
