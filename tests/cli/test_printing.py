from io import StringIO

import pytest
from rich.console import Console

from ivme.cli.printing import print_table
from ivme.report.document import Table

TABLE = Table(
    caption="Latency",
    columns=("Engine", "Batch", "Median, ms", "95% interval, ms", "Calls"),
    rows=(
        ("transformers", "1", "1,234,567", "1,200,000-1,300,000", "1,000,001"),
        ("pipeline", "8", "2", "1-3", "7"),
    ),
    numeric=frozenset({1, 2, 3, 4}),
)


def printed(table, width, keys=2):
    stream = StringIO()
    print_table(Console(file=stream, width=width), table, keys)
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_figure_is_cut_and_no_line_is_too_long(width):
    text = printed(TABLE, width)
    assert max(map(len, text.splitlines())) <= width
    for row in TABLE.rows:
        assert all(f" {cell} " in f" {text} ".replace("\n", " ") for cell in row)


def test_columns_that_do_not_fit_go_below_beside_the_keys_again():
    assert printed(TABLE, 200).count("transformers") == 1
    assert printed(TABLE, 40).count("transformers") == 3


def test_a_path_longer_than_its_column_is_broken_not_cut():
    path = "/models/" + "a-very-long-name/" * 6
    table = Table(caption="x", columns=("Model", "ms"), rows=((path, "12.5"),))
    text = printed(table, 60, keys=1)
    assert path in "".join(line.split("12.5")[0].strip() for line in text.splitlines()[3:])
