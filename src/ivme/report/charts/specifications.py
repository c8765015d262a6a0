"""What a chart shows. Values are in the units that the axis names; nothing here draws."""

from dataclasses import dataclass
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure of a series, with its interval if it has one."""

    x: float
    y: float
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together, in order of x; `group` is the index of color and marker."""

    name: str
    points: tuple[Point, ...]
    group: int = 0


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """How a figure moves with a setting that doubles: both axes logarithmic where that helps."""

    title: str
    description: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class CurveChart:
    """One figure against another, both in fixed ranges, as of a ROC curve.

    series: points in order of x, with marks where they have intervals. has_diagonal: draw x = y.
    guides: values of x to mark.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    x_range: Interval
    y_range: Interval
    series: tuple[Series, ...]
    is_x_logarithmic: bool = False
    has_diagonal: bool = False
    guides: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a value from zero, its interval, and the text beside it."""

    label: str
    value: float
    text: str
    interval: Interval | None = None
    group: int = 0  # index of its color


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Amounts of one kind side by side."""

    title: str
    description: str
    x_label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One comparison: a ratio above 1 is better; `control` is the A/A control beside it."""

    label: str
    value: float
    interval: Interval
    text: str
    verdict: str  # "faster", "slower", "same", "undecided"
    control: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class ForestChart:
    """Ratios with intervals around 1, and the band in which a difference counts as none."""

    title: str
    description: str
    x_label: str
    band: Interval
    effects: tuple[Effect, ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One timed call: its value over the median, and how far out it lies."""

    value: float
    order: float  # 0 first .. 1 last
    severity: str = "inlier"  # "inlier", "mild", "severe"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """All samples of one configuration."""

    label: str
    text: str
    samples: tuple[Sample, ...]
    box: Interval | None = None  # quartiles


@dataclass(frozen=True, kw_only=True)
class StripChart:
    """Raw samples, one dot a call, first call on top of its row."""

    title: str
    description: str
    x_label: str
    extent: Interval  # smallest and largest value, of all charts that stand side by side
    strips: tuple[Strip, ...]


@dataclass(frozen=True, kw_only=True)
class SequenceChart:
    """A figure over the course of a run, with its overall interval and a reference line."""

    title: str
    description: str
    x_label: str
    y_label: str
    values: tuple[float, ...]
    interval: Interval
    reference: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ScatterPoint:
    """One of several things that are weighed against each other by two figures and a size."""

    label: str
    x: float
    y: float
    text: str  # shown on hovering, and read out
    size: float = 0.0  # of any unit; its square root is the radius; 0: unknown
    group: int = 0  # index of color and marker
    is_front: bool = False  # nothing beats it in both figures


@dataclass(frozen=True, kw_only=True)
class ScatterChart:
    """What there is to choose from; up and to the left is better. `limit`: the most x allowed."""

    title: str
    description: str
    x_label: str
    y_label: str
    points: tuple[ScatterPoint, ...]
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a whole: its amount, and the text that says it."""

    label: str
    value: float
    text: str
    group: int = 0  # index of its color


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A whole and its parts, in order."""

    label: str
    text: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class StackChart:
    """What wholes are made of; all bars share one scale."""

    title: str
    description: str
    stacks: tuple[Stack, ...]


Chart: TypeAlias = (
    LineChart
    | CurveChart
    | BarChart
    | ForestChart
    | StripChart
    | SequenceChart
    | ScatterChart
    | StackChart
)
