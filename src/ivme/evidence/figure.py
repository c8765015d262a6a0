"""A figure with its interval, as a record tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured: the estimate, the ends of its interval, and what stands behind it."""

    value: float
    low: float
    high: float
    before: float | None = None  # what a ratio or percentage is of
    after: float | None = None
    unit: str | None = None  # of both: "seconds" or "bytes"; None: as the finding's name says
    is_counted: bool = False  # exactly: it does not scatter
    range_of: int | None = None  # so few samples that the interval is their range; None: 95%
    note: str | None = None  # why the figure is not to be trusted as it is
