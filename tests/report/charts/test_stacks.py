import re

from ivme.report.charts.drawing import draw
from ivme.report.charts.specifications import Part, Stack, StackChart

CHART = StackChart(
    title="Time of a step",
    description="",
    stacks=(
        Stack(
            label="one step",
            text="100 ms",
            parts=(
                Part(label="forward", value=25.0, text="25%", group=0),
                Part(label="backward", value=75.0, text="75%", group=1),
            ),
        ),
    ),
)


def bars(svg):
    return [float(width) for width in re.findall(r'width="([\d.]+)" height="24"', svg)]


def test_parts_are_as_wide_as_their_amounts():
    forward, backward = bars(draw(CHART))
    assert abs(backward / forward - 3) < 0.01


def test_each_part_is_named_with_its_figure_and_read_out():
    svg = draw(CHART)
    assert "forward 25%" in svg
    assert "one step, 100 ms: forward 25%, backward 75%" in svg
