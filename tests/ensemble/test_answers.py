import pytest

from ivme.ensemble.answers import LabelSet


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        (("0", "1"), [0, 1]),
        (("-1", "7"), [-1, 7]),
        (("human", "machine"), ["human", "machine"]),
        (("1", "two"), ["1", "two"]),
        (("01", "1"), ["01", "1"]),
        (("²", "٣"), ["²", "٣"]),
        (("", "x"), ["", "x"]),
    ],
)
def test_a_prediction_is_a_number_where_all_labels_are(
    labels: tuple[str, ...], predictions: list[int | str]
) -> None:
    label_set = LabelSet(labels=labels, names={labels[0]: "first"})
    assert [label_set.prediction(number) for number in (0, 1)] == predictions
    assert [label_set.name(number) for number in (0, 1)] == ["first", labels[1]]
