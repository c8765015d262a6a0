from dataclasses import replace

import pytest
from sample_records import bench_record, measurement, versus_record

from ivme.report.figures import describe, read_figures, shared_settings, varying_settings


def one_of(change):
    measured = replace(measurement("transformers", 8, 128), **change)
    (figures,) = read_figures(replace(versus_record(), measurements=(measured,)))
    return figures


def test_throughput_of_equal_calls_counts_with_the_median():
    figures = one_of({"samples_s": {"latency": (0.1, 0.1, 0.4)}})
    assert figures.items_per_s == pytest.approx(80)
    assert figures.tokens_per_s == pytest.approx(80 * 128)


def test_throughput_of_real_texts_counts_all_their_time():
    configuration = {**measurement("transformers", 8, 128).configuration, "tokens": None}
    samples_s = {"latency": (0.1, 0.1, 0.4)}
    figures = one_of({"samples_s": samples_s, "configuration": configuration})
    assert figures.items_per_s == pytest.approx(8 / 0.2)


def test_a_share_of_the_ceiling_needs_a_ceiling():
    measured = measurement("transformers", 8, 128)
    figures = one_of({})
    rate = measured.floating_point_operations_per_call / figures.median_s
    assert figures.ceiling_share == pytest.approx(rate / 2.1e11)
    assert one_of({"facts": {}}).ceiling_share is None


def test_few_calls_have_no_interval():
    assert one_of({"samples_s": {"latency": (0.1, 0.2)}}).interval_s is None
    low, high = one_of({}).interval_s
    assert low <= one_of({}).median_s <= high


def test_samples_that_a_clock_lost_are_left_out():
    figures = one_of({"samples_s": {"latency": (0.1, None, 0.1)}})
    assert figures.latency_s == (0.1, 0.1)


def test_failed_configurations_have_no_figures():
    record = bench_record()
    assert len(read_figures(record)) == len(record.measurements) - 1


def test_settings_are_split_into_those_that_vary_and_those_shared():
    figures = read_figures(versus_record())
    configurations = [one.configuration for one in figures]
    assert varying_settings(configurations) == ("engine",)
    assert describe(configurations[0], ("engine", "batch_size")) == "transformers · batch 1"
    assert shared_settings(figures) == (
        "preset:bert-base · fp32 · cpu · longest padding · 2 threads · batch 1 · 128 tokens"
    )
