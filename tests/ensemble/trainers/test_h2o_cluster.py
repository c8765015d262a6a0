import importlib.util
import sys

import numpy as np
import pytest

from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.trainers.h2o_cluster import h2o_cluster, write_svmlight
from ivme.ensemble.trainers.h2o_trainer import train_with_h2o
from ivme.ensemble.trainers.settings import H2OPlace, MemberSettings
from ivme.errors import UsageError


def test_rows_written_for_h2o_read_back_to_the_last_bit(tmp_path):
    from sklearn.datasets import load_svmlight_file

    draw = np.random.RandomState(0)
    dense = np.where(draw.rand(50, 7) < 0.4, draw.rand(50, 7) ** 9, 0.0)
    dense[:, -1] = 0.0  # the last feature is in no text
    labels = draw.randint(0, 3, 50)
    write_svmlight(tmp_path / "rows.svm", rows_from_dense(dense), labels)
    rows, numbers = load_svmlight_file(str(tmp_path / "rows.svm"))
    assert np.array_equal(rows.toarray()[:, :-1], dense)
    assert (rows.toarray()[:, -1] == 1.0).all()  # so that H2O sees every column
    assert np.array_equal(numbers, labels)


def test_two_columns_of_one_name_are_refused_before_anything_starts():
    with pytest.raises(UsageError, match="two kinds of n-grams have an n-gram in common"):
        train_with_h2o(
            ("GLM",),
            rows_from_dense(np.ones((2, 2))),
            np.array([0, 1]),
            column_names=("word:a", "word:a"),
            label_count=2,
            sizes=MemberSettings(),
            place=H2OPlace(),
        )


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "h2o", None)
    with pytest.raises(UsageError, match=r"pip install 'ivme\[h2o\]'"), h2o_cluster(H2OPlace()):
        pass


@pytest.mark.skipif(importlib.util.find_spec("h2o") is None, reason="h2o is not installed")
def test_without_java_the_error_names_the_other_ways(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no java on the PATH"), h2o_cluster(H2OPlace()):
        pass
