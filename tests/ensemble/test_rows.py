import numpy as np
import pytest

from ivme.ensemble.rows import join_rows, rows_from_dense
from ivme.errors import UsageError

DENSE = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, 0.0], [-2.0, 0.0, 1e-310]])


def test_dense_rows_come_back_with_missing_values():
    rows = rows_from_dense(DENSE)
    assert np.array_equal(rows.to_dense(), DENSE, equal_nan=True)
    assert (len(rows), rows.feature_count) == (3, 3)


def test_a_part_holds_its_rows_alone():
    rows = rows_from_dense(DENSE)
    for first, end in ((0, 1), (1, 2), (2, 3), (1, 3), (1, 1)):
        assert np.array_equal(rows.part(first, end).to_dense(), DENSE[first:end], equal_nan=True)


def test_joined_parts_are_the_whole():
    rows = rows_from_dense(DENSE)
    joined = join_rows([rows.part(0, 2), rows.part(2, 3)], 3)
    assert np.array_equal(joined.to_dense(), DENSE, equal_nan=True)
    assert len(join_rows([], 3)) == 0


def test_one_row_must_be_given_as_a_list_of_one():
    with pytest.raises(UsageError, match=r"shape \(3,\); expected \[rows, columns\]"):
        rows_from_dense([1.0, 2.0, 3.0])
