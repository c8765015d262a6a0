import pytest

from ivme.errors import UsageError
from ivme.tune.labels import match_labels


def test_names_match_in_any_case_and_numbers_match_outputs():
    assert match_labels(["negative", "POSITIVE "], ("NEGATIVE", "POSITIVE")) == (
        "NEGATIVE",
        "POSITIVE",
    )
    assert match_labels(["1", "0", "1"], ("bad", "good")) == ("good", "bad", "good")


def test_other_labels_are_refused_and_both_sets_are_named():
    with pytest.raises(UsageError) as caught:
        match_labels(["spam", "ham", "spam"], ("NEGATIVE", "POSITIVE"))
    message = str(caught.value)
    assert "in the file are 'ham', 'spam', those of the model 'NEGATIVE', 'POSITIVE'" in message
    assert "with the numbers of its outputs, 0 to 1" in message


def test_of_many_labels_some_are_shown():
    with pytest.raises(UsageError, match=r"'l0', .* and 40 more"):
        match_labels(["x"], tuple(f"l{number}" for number in range(50)))
