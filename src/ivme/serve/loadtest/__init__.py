"""Load tests: requests on a fixed schedule, timed from the moment when each was due.

A client that waits for an answer before it asks again asks less often while a server stalls, and
so never sees the stall as its users would (coordinated omission). Here the schedule is fixed
beforehand; how late an answer comes counts from the schedule, whatever else is still unanswered.
"""

from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.recording import load_record_of
from ivme.serve.loadtest.running import LoadResult, Progress, run_load
from ivme.serve.loadtest.summary import LoadSummary, summarize

__all__ = [
    "LoadConfig",
    "LoadResult",
    "LoadSummary",
    "Progress",
    "load_record_of",
    "run_load",
    "summarize",
]
