import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivme.report.formatting import (
    BYTES,
    MISSING,
    SECONDS,
    choose_unit,
    format_bytes,
    format_count,
    format_in,
    format_interval,
    format_percent,
    format_rate,
    format_ratio,
    format_seconds,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123456, "12.3 ms"),
        (1.5, "1.50 s"),
        (0.001, "1.00 ms"),
        (2.5e-7, "250 ns"),
        (0.0, "0 s"),
        (1200.0, "20.0 min"),
        (None, MISSING),
        (math.nan, MISSING),
    ],
)
def test_seconds_get_the_unit_that_fits(seconds, text):
    assert format_seconds(seconds) == text


def test_digits_stop_where_the_interval_leaves_doubt():
    assert format_seconds(0.0123456, (0.0118, 0.0128)) == "12.3 ms"
    assert format_seconds(0.0123456, (0.008, 0.018)) == "12 ms"
    assert format_ratio(1.0834, (1.05, 1.11)) == "1.08"
    assert format_ratio(1.0042, (0.9985, 1.0101)) == "1.004"


def test_an_interval_of_no_width_keeps_the_usual_digits():
    assert format_ratio(1.0834, (1.0834, 1.0834)) == "1.08"


def test_an_interval_names_its_unit_once():
    assert format_interval((0.0120, 0.0127), format_seconds) == "12.0–12.7 ms"  # noqa: RUF001
    assert format_interval((0.0009, 0.0012), format_seconds) == "900 µs–1.2 ms"  # noqa: RUF001
    assert format_interval((1.0512, 1.1122)) == "1.05–1.11"  # noqa: RUF001


def test_memory_is_in_powers_of_ten():
    assert format_bytes(1_234_000_000) == "1.23 GB"
    assert format_bytes(0) == "0 B"


def test_only_operations_and_bytes_get_prefixes():
    assert format_rate(2.1e11, "FLOP/s") == "210 GFLOP/s"
    assert format_rate(4.21e10, "B/s") == "42.1 GB/s"
    assert format_rate(12345.0, "tokens/s") == "12,345 tokens/s"


def test_counts_and_percents_read_well():
    assert format_count(109_483_778) == "109 M"
    assert format_count(4386) == "4,386"
    assert format_percent(0.02) == "2%"
    assert format_percent(0.0234) == "2.3%"
    assert format_percent(0.873) == "87%"


def test_a_column_takes_the_unit_of_its_middle():
    unit = choose_unit([0.0004, 0.02, 0.9, None], SECONDS)
    assert unit.symbol == "ms"
    assert format_in(0.9, unit) == "900"
    assert choose_unit([], BYTES).symbol == "B"


@given(st.floats(min_value=1e-8, max_value=500))
def test_a_formatted_time_reads_back_within_half_a_percent(seconds):
    number, symbol = format_seconds(seconds).split()
    factor = {unit.symbol: unit.factor for unit in SECONDS}[symbol]
    assert float(number.replace(",", "")) * factor == pytest.approx(seconds, rel=0.005)
