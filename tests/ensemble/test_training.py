from dataclasses import replace

import numpy as np
import pytest
from styles import WORDS, styled_texts

from ivme.ensemble.features import NgramSettings
from ivme.ensemble.tabular import TabularMembers
from ivme.ensemble.trainers.settings import MemberSettings
from ivme.ensemble.training import (
    TabularSettings,
    number_labels,
    telling_columns,
    train_tabular,
)
from ivme.errors import UsageError

SMALL = TabularSettings(
    sizes=MemberSettings(forest_trees=5, boosting_trees=5),
    ngrams=(NgramSettings(), NgramSettings(splitting="char", shortest=2, longest=3)),
)


def test_three_labels_are_told_apart_and_progress_is_told(tmp_path):
    texts, labels = styled_texts(200, ("human", "machine", "other"))
    lines: list[str] = []
    trained = train_tabular(
        texts, labels, folder=tmp_path / "model", settings=SMALL, progress=lines.append
    )
    assert trained.labels == ("human", "machine", "other")
    assert lines == [
        "Fitting TF-IDF...",
        "Training DRF...",
        "Training GBM...",
        "Training GLM...",
    ]
    scores = TabularMembers.load(tmp_path / "model").score("ve bu da çok daha güzel ama için")
    assert {name: int(one.argmax()) for name, one in scores.items()} == dict.fromkeys(scores, 2)
    assert trained.thresholds == dict.fromkeys(scores)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"] * 3 + ["b"] * 37, r"the 3 texts of the label 'x' .* they are in 'a'; give"),
        (None, None),
        ([""] * 40, None),
    ],
)
def test_a_label_must_not_be_left_out_of_what_scores_learn_from(tmp_path, groups, message):
    texts, labels = [f"some words {at} and more" for at in range(40)], ["x"] * 3 + ["y"] * 37
    settings = replace(SMALL, members=("GLM",))
    if message is None:
        train_tabular(texts, labels, folder=tmp_path, settings=settings, groups=groups)
        return
    with pytest.raises(UsageError, match=message):
        train_tabular(texts, labels, folder=tmp_path, settings=settings, groups=groups)


def test_a_label_with_one_text_is_refused(tmp_path):
    texts, labels = [f"some words {at} and more" for at in range(40)], ["x"] + ["y"] * 39
    with pytest.raises(UsageError, match="1 texts of the label 'x', which are too few; give 2"):
        train_tabular(texts, labels, folder=tmp_path, settings=SMALL)


def test_labels_may_be_numbers(tmp_path):
    texts, labels = styled_texts(120, ("human", "machine"))
    numbers = [labels[i] == "human" for i in range(len(labels))]
    settings = TabularSettings(members=("GLM",), sizes=SMALL.sizes)
    trained = train_tabular(
        texts, [int(one) for one in numbers], folder=tmp_path, settings=settings
    )
    assert trained.labels == ("0", "1")


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "0 texts with 0 labels"),
        (["a"], ["x", "y"], "1 texts with 2 labels"),
        (["a", "b"], ["x", "x"], "every text has the label 'x'"),
        (["a", b"b"], ["x", "y"], "a bytes where a text was expected"),
    ],
)
def test_data_that_cannot_be_learned_is_refused(tmp_path, texts, labels, message):
    with pytest.raises(UsageError, match=message):
        train_tabular(texts, labels, folder=tmp_path)


def test_validation_with_a_strange_label_is_refused(tmp_path):
    texts, labels = styled_texts(120, ("human", "machine"))
    settings = TabularSettings(members=("GLM",), sizes=SMALL.sizes)
    with pytest.raises(UsageError, match="label 'robot' is none of those in training"):
        train_tabular(
            texts, labels, folder=tmp_path, settings=settings, validation=(["a"], ["robot"])
        )


def test_unknown_trainers_and_members_are_refused(tmp_path):
    with pytest.raises(UsageError, match="trainer='spark'; expected one of"):
        train_tabular(["a"], ["x"], folder=tmp_path, trainer="spark")
    with pytest.raises(UsageError, match="expected some of"):
        TabularSettings(members=("XGB",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"forest_trees": 0}, "forest_trees=0"), ({"penalty": 0.0}, "penalty=0.0")],
)
def test_sizes_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        MemberSettings(**wrong)


def test_trees_read_the_telling_ngrams_with_style_and_scores_and_linear_members_all_ngrams(
    tmp_path,
):
    texts, labels = styled_texts(200, ("human", "machine"))
    settings = replace(SMALL, ngrams=(NgramSettings(),), tree_ngrams=3, variants=0)
    trained = train_tabular(texts, labels, folder=tmp_path, settings=settings)
    features = trained.features
    _, numbers = number_labels(texts, labels)
    few = telling_columns(features, features.transform_batch(texts), numbers, 3)
    assert (few < features.ngram_count).sum() == 3
    assert features.names[few[-1]] == "score:0"
    words = {features.names[column].partition(":")[2] for column in few[:3]}
    assert words <= {*WORDS["human"], *WORDS["machine"]}
    for name in ("DRF", "GBM"):
        nodes = trained.members[name].model.nodes
        assert set(nodes["feature"][nodes["feature"] >= 0]) <= set(few)
    read = np.flatnonzero(trained.members["GLM"].model.coefficients[0])
    assert len(read) > 3
    assert read.max() < features.ngram_count


def test_columns_that_are_the_same_in_every_row_are_left_out(tmp_path):
    texts, labels = styled_texts(120, ("human", "machine"))
    settings = replace(SMALL, members=("DRF",), variants=0)
    features = train_tabular(texts, labels, folder=tmp_path, settings=settings).features
    _, numbers = number_labels(texts, labels)
    few = telling_columns(features, features.transform_batch(texts), numbers, 10_000)
    names = {features.names[column] for column in few}
    assert "style:word length" in names
    assert "style:commas" not in names  # the texts have none


def test_texts_with_an_empty_group_train_as_texts_without_groups(tmp_path):
    texts, labels = styled_texts(60, ("human", "machine"))
    settings = replace(SMALL, members=("DRF",))
    one, other = (
        train_tabular(texts, labels, folder=tmp_path, settings=settings, groups=groups)
        for groups in (None, [""] * len(texts))
    )
    for text in texts[:5]:
        np.testing.assert_array_equal(one.score(text)["DRF"], other.score(text)["DRF"])


def test_groups_must_be_as_many_as_texts(tmp_path):
    with pytest.raises(UsageError, match="2 texts with 1 groups; expected one for each"):
        train_tabular(["a b", "c d"], ["x", "y"], folder=tmp_path, groups=["first"])


@pytest.mark.parametrize(
    "wrong", [{"tree_ngrams": 0}, {"style_weight": -1.0}, {"variants": -1}], ids=str
)
def test_features_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="expected tree_ngrams >= 1, the others >= 0"):
        TabularSettings(**wrong)
