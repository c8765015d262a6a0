from ivme.measure.records import Measurement, new_record
from ivme.measure.verdict import CONTROL, judge
from ivme.report.document import Plots
from ivme.report.sections.diagnose_sweeps import sweep_section

STEPS = {"step": (1.0,)}
BLOCK = {"seconds": {"now": [1.0], "batch 4": [0.5], CONTROL: [1.0]}}


def measured(batch_size, **fields):
    """Return the measurement of a trial that made steps, with its peak memory."""
    return Measurement(
        label=f"batch {batch_size}",
        configuration={"batch_size": batch_size},
        samples_s=STEPS,
        peak_memory_bytes=batch_size * 10**6,
        facts={"axis": "batch_size"},
        **fields,
    )


def charts(*trials, comparisons=()):
    """Return the points of each chart of a record, (x, y) by title."""
    first = Measurement(
        label="now",
        configuration={"batch_size": 2},
        samples_s=STEPS,
        peak_memory_bytes=2 * 10**6,
        facts={"diagnosis": {}},
    )
    record = new_record(
        "diagnose", ["ivme"], {}, {}, measurements=[first, *trials], comparisons=comparisons
    )
    plots = [one for one in sweep_section(record).blocks if isinstance(one, Plots)]
    drawn = [chart for one in plots for chart in one.charts]
    return {one.title: [(point.x, point.y) for point in one.series[0].points] for one in drawn}


def test_a_trial_that_failed_in_its_turns_has_no_speed():
    failed = measured(8, failure="out of memory")
    found = charts(measured(4), failed, comparisons=[judge([BLOCK] * 8, "now", "batch 4")])
    assert found["Throughput by batch size"] == [(2, 1.0), (4, 2.0)]
    assert [x for x, _ in found["Peak memory by batch size"]] == [2, 4, 8]
    assert list(charts(failed)) == ["Peak memory by batch size"]
