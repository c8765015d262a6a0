import pytest

from ivme.bench.configuration import TextSource
from ivme.tune.configuration import TuneConfig
from ivme.tune.material import drawn, gather, set_apart


@pytest.fixture
def sorted_file(tmp_path):
    """A file whose texts all have the label 0 first, then all 1; the text ends with its label."""
    rows = [f"text {number} of,{number // 400}\n" for number in range(800)]
    path = tmp_path / "sorted.csv"
    path.write_text("text,label\n" + "".join(rows))
    return path


def config(path, **changes) -> TuneConfig:
    source = TextSource(file=str(path))
    return TuneConfig(model="made up", texts=source, labels="label", **changes)


def test_the_first_texts_of_a_sorted_file_are_of_all_its_labels(tiny_model, sorted_file):
    material = gather(config(sorted_file), tiny_model)
    zero, one = tiny_model.labels
    assert material.labels is not None
    assert 20 < material.labels[:100].count(zero) < 80
    for text, label in zip(material.judged, material.labels, strict=True):
        assert label == (zero, one)[int(text.split()[1]) // 400]
    calibrated = [int(text.split()[1]) // 400 for text in material.calibration]
    assert 20 < sum(calibrated) < len(calibrated) - 20


def test_a_seed_is_an_order(tiny_model, sorted_file):
    first, again, other = (
        gather(config(sorted_file, seed=seed), tiny_model).judged for seed in (0, 0, 1)
    )
    assert first == again != other


def test_texts_for_calibration_are_not_judged_where_there_are_enough():
    texts, labels = drawn([str(number) for number in range(512)], ["a"] * 512, 0)
    calibration, judged, kept = set_apart(texts, labels)
    assert sorted((*calibration, *judged)) == sorted(texts)
    assert len(calibration) == 128
    assert kept is not None
    assert len(kept) == len(judged)
    few = texts[:511]
    assert set_apart(few, None) == (few[:128], few, None)
