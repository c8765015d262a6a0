"""What a load test is asked to do, as plain values."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from ivme.errors import UsageError

SCHEDULES = ("constant", "poisson")
MAX_CONNECTIONS = 1000  # unless another number is asked for
MOST_REQUESTS = 10_000_000  # every one of them keeps its place in the record


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """A load test of one route: at a fixed rate (open loop) or with fixed clients (closed loop).

    Raises UsageError where a value is out of range.
    """

    url: str
    path: str = "/predict"
    rate_per_s: float | None = None  # open loop: requests a second, whatever the server does
    concurrency: int | None = None  # closed loop: clients that each wait for their answer
    duration_s: float = 30.0
    warm_up_s: float = 2.0  # under the same load, before what is counted
    schedule: str = "constant"  # of an open loop: even gaps, or those of independent users
    seed: int = 0  # of the order of texts, and of Poisson gaps
    timeout_s: float = 30.0  # of a request, from the moment when it was due
    good_within_s: float | None = None  # later answers do not count as goodput; None: all count
    max_connections: int = MAX_CONNECTIONS
    distinct: bool = False  # mark each text by run and number: no answer comes from a cache
    allow_remote: bool = False
    api_key: str | None = None

    def __post_init__(self) -> None:
        if (self.rate_per_s is None) == (self.concurrency is None):
            given = "neither" if self.rate_per_s is None else "both"
            raise UsageError(
                f"{given} of rate and concurrency given; give --rate R to see what users would "
                "see at R requests a second, or --concurrency N for what N waiting clients get"
            )
        if self.schedule not in SCHEDULES:
            raise UsageError(f"schedule={self.schedule!r}; expected one of {', '.join(SCHEDULES)}")
        for name in ("rate_per_s", "duration_s", "timeout_s", "good_within_s"):
            _check_number(name, getattr(self, name))
        _check_number("warm_up_s", self.warm_up_s, allow_zero=True)
        for name in ("concurrency", "max_connections"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UsageError(f"{name}={count}; expected 1 or more")
        if not self.path.startswith("/") or not self.path.isascii() or " " in self.path:
            raise UsageError(f"path={self.path!r}; expected a route as in /predict")
        self._check_requests()

    def _check_requests(self) -> None:
        count = (self.rate_per_s or 0.0) * (self.warm_up_s + self.duration_s)
        if count > MOST_REQUESTS:
            raise UsageError(
                f"{self.rate_per_s:,g} requests/s for {self.duration_s:,g} s are {count:,.0f} "
                f"requests; at most {MOST_REQUESTS:,} fit one record: shorten --duration"
            )

    def as_settings(self) -> dict[str, Any]:
        """Return the configuration as a record keeps it: without the key."""
        return {name: value for name, value in asdict(self).items() if name != "api_key"}


def _check_number(name: str, value: float | None, *, allow_zero: bool = False) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        least = "0 or more" if allow_zero else "a number above 0"
        raise UsageError(f"{name}={value:g}; expected {least}")
