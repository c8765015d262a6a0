import pytest

from ivme.ensemble.labeled_texts import (
    LabeledTexts,
    check_labels,
    hold_out,
    read_labeled_texts,
    same_text,
    without_texts_of,
)
from ivme.errors import UsageError, WorkloadError


def data(count: int = 100, **changes) -> LabeledTexts:
    settings = {
        "texts": tuple(f"text {number}" for number in range(count)),
        "labels": tuple("ab"[number % 2] for number in range(count)),
        "source": "train.csv",
    }
    return LabeledTexts(**{**settings, **changes})


def test_a_share_of_each_label_is_held_out():
    first, second = hold_out(data(), 0.2, seed=0)
    assert (len(first), len(second)) == (80, 20)
    assert second.labels.count("a") == second.labels.count("b") == 10
    assert not set(first.texts) & set(second.texts)
    assert second.texts == hold_out(data(), 0.2, seed=0)[1].texts
    assert second.texts != hold_out(data(), 0.2, seed=1)[1].texts
    assert len(hold_out(data(), 0.5, seed=0, most=10)[1]) == 10


def test_texts_of_a_group_and_the_same_texts_stay_together():
    groups = tuple(f"group {number // 4}" for number in range(100))
    texts = tuple(
        f"Text  {number % 90}" if number < 50 else f"text {number % 90}" for number in range(100)
    )
    first, second = hold_out(data(texts=texts, groups=groups), 0.2, seed=0)
    assert not set(first.groups) & set(second.groups)
    assert not {same_text(one) for one in first.texts} & {same_text(one) for one in second.texts}


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_texts_without_a_group_belong_with_no_other(nothing):
    groups = tuple(nothing if number >= 8 else "one" for number in range(100))
    first, second = hold_out(data(groups=groups), 0.2, seed=0)
    assert len(second) <= 28
    assert "one" not in set(first.groups) & set(second.groups)


def test_a_label_with_too_few_different_texts_is_refused():
    few = data(
        texts=("same",) * 50 + tuple(f"text {number}" for number in range(50)),
        labels=("a",) * 50 + ("b",) * 50,
    )
    with pytest.raises(UsageError, match=r"train\.csv: 50 texts of the label 'a', which are too"):
        hold_out(few, 0.2, seed=0)
    two = data(texts=("one", "two"), labels=("a", "b"))  # of which none would be left to train on
    with pytest.raises(UsageError, match=r"train\.csv: 1 texts of the label 'a', which are too"):
        hold_out(two, 0.2, seed=0)


def test_texts_of_the_other_part_are_left_out():
    valid = data(texts=tuple(f"TEXT {number}" for number in range(50, 150)), source="valid.csv")
    kept = without_texts_of(valid, data())
    assert kept.texts == tuple(f"TEXT {number}" for number in range(100, 150))
    assert without_texts_of(kept, data()) is kept
    with pytest.raises(UsageError, match=r"every text of train\.csv is in train\.csv too"):
        without_texts_of(data(), data())


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (data(labels=("c",) * 100), r"label 'c' is none of those in train\.csv: a, b"),
        (data(labels=("a",) * 100), "has no text of the label 'b'; give some"),
    ],
)
def test_validation_must_have_the_labels_of_training(valid, message):
    with pytest.raises(UsageError, match=message):
        check_labels(data(), valid)


def test_one_label_only_is_refused():
    with pytest.raises(UsageError, match=r"train\.csv: every text has the label 'a'; expected two"):
        check_labels(data(labels=("a",) * 100), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a",)}, "100 texts with 1 labels"),
        ({"groups": ("one",) * 99}, "100 texts with 99 groups; expected one for each"),
        ({"texts": (), "labels": ()}, "0 texts with 0 labels"),
        ({"texts": (" \n",) * 100}, "100 texts are empty; leave them out"),
    ],
)
def test_texts_and_labels_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        data(**changes)


def test_files_are_read_by_the_names_of_columns(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('body,kind,topic\n"one\ntwo",x,t1\n,y,t2\nthree,y,t3\n')
    found = read_labeled_texts(path, text="body", label="kind", group="topic")
    assert found.texts == ("one\ntwo", "three")
    assert found.labels == ("x", "y")
    assert found.groups == ("t1", "t3")
    assert found.source == str(path)
    with pytest.raises(WorkloadError, match="label"):
        read_labeled_texts(path, text="body")
