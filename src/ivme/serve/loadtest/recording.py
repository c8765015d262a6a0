"""A load test as a record: the summary, and the raw moments of every request."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ivme.hardware.inventory import read_inventory
from ivme.measure.records import Measurement, Record, new_record
from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.running import LoadResult
from ivme.serve.loadtest.summary import LoadSummary, summarize

DECIMALS = 6  # microseconds


def load_record_of(
    result: LoadResult, *, command: Sequence[str], summary: LoadSummary | None = None
) -> Record:
    """Return the record of a load test; summary: of it, if it is known already."""
    summary = summary or summarize(result)
    samples = result.run.samples
    names = sorted(set(samples.outcomes))
    places = {name: place for place, name in enumerate(names)}
    measurement = Measurement(
        label=label_of(result.config),
        configuration={
            "url": result.target.name,
            "path": result.config.path,
            "rate_per_s": result.config.rate_per_s,
            "concurrency": result.config.concurrency,
            "schedule": result.config.schedule if result.config.rate_per_s else "closed loop",
        },
        samples_s={
            "first_call": (result.first_s,),
            "due": _rounded(samples.due_s),
            "begun": _rounded(samples.begun_s),
            "sent": _rounded(samples.sent_s),
            "ended": _rounded(samples.ended_s),
        },
        facts={
            "load": asdict(summary),
            "outcome_names": names,
            "outcomes": [places[one] for one in samples.outcomes],
        },
    )
    return new_record(
        "loadtest",
        command,
        asdict(read_inventory()),
        {**result.config.as_settings(), "texts": result.texts, "run_token": result.token},
        measurements=[measurement],
        notes=summary.notes,
        is_complete=result.is_complete,
    )


def label_of(config: LoadConfig) -> str:
    """Return a load in words, as in "POST /predict · 50 requests/s"."""
    if config.rate_per_s is not None:
        gaps = "" if config.schedule == "constant" else f", {config.schedule}"
        return f"POST {config.path} · {config.rate_per_s:,g} requests/s{gaps}"
    return f"POST {config.path} · {config.concurrency:,} waiting clients"


def _rounded(moments: "Sequence[float] | Any") -> tuple[float, ...]:
    return tuple(round(one, DECIMALS) for one in moments)
