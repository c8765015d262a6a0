from dataclasses import replace

from sample_records import bench_record, measurement, versus_record

from ivme.report.charts.specifications import BarChart, LineChart
from ivme.report.figures import read_figures
from ivme.report.sections.metrics import LATENCY, THROUGHPUT, memory_charts, metric_charts


def figures_of(*measurements):
    return read_figures(replace(versus_record(), measurements=measurements))


def swept(engines, batch_sizes, lengths, dtypes=("fp32",)):
    return figures_of(
        *(
            measurement(engine, batch_size, tokens, dtype=dtype, calls=6)
            for engine in engines
            for dtype in dtypes
            for batch_size in batch_sizes
            for tokens in lengths
        )
    )


def test_a_sweep_of_one_setting_is_one_chart_with_a_line_an_engine():
    (chart,) = metric_charts(
        LATENCY, swept(("transformers", "pipeline"), (1, 8, 32), (128,)), ("batch_size", "tokens")
    )
    assert isinstance(chart, LineChart)
    assert chart.title == "Latency by batch size"
    assert [one.name for one in chart.series] == ["transformers", "pipeline"]
    assert [point.x for point in chart.series[0].points] == [1, 8, 32]


def test_points_carry_the_interval_in_the_unit_of_the_axis():
    figures = swept(("transformers",), (1, 8), (128,))
    (chart,) = metric_charts(LATENCY, figures, ("batch_size",))
    assert chart.y_label == "ms"
    for one, point in zip(figures, chart.series[0].points, strict=True):
        assert point.y == one.median_s * 1e3
        assert point.interval == tuple(bound * 1e3 for bound in one.interval_s)


def test_many_lines_are_split_by_the_other_swept_number():
    figures = swept(("transformers", "pipeline"), (1, 8), (32, 128, 512))
    charts = metric_charts(LATENCY, figures, ("batch_size",))
    assert [chart.title for chart in charts] == [
        "Latency by batch size, 32 tokens",
        "Latency by batch size, 128 tokens",
        "Latency by batch size, 512 tokens",
    ]
    assert {len(chart.series) for chart in charts} == {2}


def test_an_engine_keeps_its_color_where_another_failed():
    charts = metric_charts(LATENCY, read_figures(bench_record()), ("tokens",))
    groups = {one.name: one.group for chart in charts for one in chart.series}
    assert groups == {"transformers": 0, "pipeline": 1}


def test_nothing_swept_gives_bars():
    figures = figures_of(measurement("transformers", 1, 32), measurement("pipeline", 1, 32))
    (chart,) = metric_charts(THROUGHPUT, figures, ("batch_size",))
    assert isinstance(chart, BarChart)
    assert [bar.label for bar in chart.bars] == [one.label for one in figures]


def test_a_metric_without_figures_gives_no_chart():
    figures = figures_of(
        *(replace(measurement("pipeline", batch, 32), items_per_call=None) for batch in (1, 8))
    )
    assert metric_charts(THROUGHPUT, figures, ("batch_size",)) == ()


def test_memory_is_shown_largest_first_and_says_what_it_leaves_out():
    (chart,) = memory_charts(read_figures(bench_record()))
    values = [bar.value for bar in chart.bars]
    assert values == sorted(values, reverse=True)
    assert "The first 8 of 17; the table has all." in chart.description
