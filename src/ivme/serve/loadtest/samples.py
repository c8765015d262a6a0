"""What happened to every request, in the order in which they were due, and to the run."""

import math
from array import array
from dataclasses import dataclass, field

UNFINISHED = ""  # the run ended first


@dataclass(kw_only=True)
class Samples:
    """Moments in seconds since the start of what counts; those of the warm-up are below 0.

    The four lists run in parallel. NaN: it never came to that.
    """

    due_s: "array[float]" = field(default_factory=lambda: array("d"))
    begun_s: "array[float]" = field(default_factory=lambda: array("d"))  # by the generator
    sent_s: "array[float]" = field(default_factory=lambda: array("d"))  # on a connection
    ended_s: "array[float]" = field(default_factory=lambda: array("d"))
    outcomes: list[str] = field(default_factory=list)  # "200", "429", "timed out", UNFINISHED

    def begin(self, due_s: float, begun_s: float) -> int:
        """Take that a request is begun, and return its number."""
        self.due_s.append(due_s)
        self.begun_s.append(begun_s)
        self.sent_s.append(math.nan)
        self.ended_s.append(math.nan)
        self.outcomes.append(UNFINISHED)
        return len(self.outcomes) - 1

    def end(self, number: int, sent_s: float, ended_s: float, outcome: str) -> None:
        """Take what became of a request."""
        self.sent_s[number] = sent_s
        self.ended_s[number] = ended_s
        self.outcomes[number] = outcome


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is: counts since its start, and the latencies since the last look."""

    elapsed_s: float  # below 0 during the warm-up
    begun: int
    ended: dict[str, int]  # by outcome
    in_flight: int
    recent_s: tuple[float, ...]


@dataclass(kw_only=True)
class Run:
    """What a run left behind."""

    samples: Samples = field(default_factory=Samples)
    bodies: dict[str, str] = field(default_factory=dict)  # outcome -> what the server said first
    started_at_s: float = 0.0  # when what counts began, on the clock of time.monotonic()
    stopped_at_s: float | None = None  # by Ctrl-C; None: it ran to its end
    busy_share: float = 0.0  # of one core, taken by the generator
    connections: int = 0  # opened
    waited: int = 0  # requests that waited for a connection
