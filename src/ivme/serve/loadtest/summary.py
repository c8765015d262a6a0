"""The summary of a load test: what users got, what they did not, and whether to believe it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivme.serve.loadtest.pool import NOT_HTTP, TIMED_OUT
from ivme.serve.loadtest.quantiles import Quantile, latency_quantiles
from ivme.serve.loadtest.samples import UNFINISHED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ivme.serve.loadtest.running import LoadResult

REFUSALS = ("429", "503")  # of a server that knows that it has too much to do
MOST_SLIP_SHARE = 0.1  # of a latency: more of it must not be the generator's own
JUDGED_UP_TO = 0.99  # the quantile above which a single hiccup of the machine decides
LEAST_SLIP_S = 0.001  # below that, slips are the operating system's
MOST_BUSY_SHARE = 0.9  # of one core: above, the generator may be what limits the rate


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Latencies of one kind of outcome, in seconds from the moment when each was due."""

    count: int
    quantiles: tuple[Quantile, ...]  # those that so many samples can tell
    max_s: float | None  # None: there are no samples


@dataclass(frozen=True, kw_only=True)
class LoadSummary:
    """What the requests that were due after the warm-up came to."""

    counted_s: float  # length of what counts
    requests: int
    answered: int  # 2xx
    refused: int  # 429 and 503
    failed: dict[str, int]  # everything else that ended, by outcome
    unfinished: int  # the run ended first
    offered_per_s: float
    throughput_per_s: float  # responses of any status
    goodput_per_s: float  # 2xx, in time
    latency: Latencies  # of 2xx, and of what timed out: a user waited that long at least
    refusal: Latencies
    slip: Latencies  # by how much the generator was late itself
    generator: str  # "compiled" or "python"
    busy_share: float  # of one core, taken by it
    connections: int
    waited: int  # requests that waited for the bound on connections
    repeats: float  # times that each text was sent
    invalid: str | None  # why the figures are the generator's rather than the server's
    notes: tuple[str, ...]


def summarize(result: "LoadResult") -> LoadSummary:
    """Return the summary of a load test; of nothing if it was stopped in its warm-up."""
    import numpy as np

    run, config = result.run, result.config
    samples = run.samples
    due, begun, ended = (np.array(one) for one in (samples.due_s, samples.begun_s, samples.ended_s))
    outcomes = np.array(samples.outcomes, dtype=object)
    end_s = max(0.0, min(config.duration_s, _end(result)))
    counts = due >= 0
    tally = Counter(outcomes[counts].tolist())
    has_ended = (ended >= 0) & (ended <= end_s)
    is_response = np.array([one.isdecimal() for one in outcomes.tolist()], dtype=bool)
    is_answer = np.array([_is_answer(one) for one in outcomes.tolist()], dtype=bool)
    latency_s = ended - due
    in_time = latency_s <= (config.good_within_s or np.inf)
    latency = _latencies(latency_s[counts & (is_answer | (outcomes == TIMED_OUT))], config.seed)
    slip = _latencies((begun - due)[counts], config.seed)
    return LoadSummary(
        counted_s=end_s,
        requests=int(counts.sum()),
        answered=sum(count for one, count in tally.items() if _is_answer(one)),
        refused=sum(tally[one] for one in REFUSALS),
        failed=_failed(tally),
        unfinished=tally[UNFINISHED],
        offered_per_s=_rate(counts & (due <= end_s), end_s),
        throughput_per_s=_rate(has_ended & is_response, end_s),
        goodput_per_s=_rate(has_ended & is_answer & in_time, end_s),
        latency=latency,
        refusal=_latencies(latency_s[counts & np.isin(outcomes, REFUSALS)], config.seed),
        slip=slip,
        generator=result.generator,
        busy_share=run.busy_share,
        connections=run.connections,
        waited=run.waited,
        repeats=len(outcomes) / result.texts,
        invalid=_invalid(latency, slip, run.busy_share),
        notes=tuple(_notes(result, tally)),
    )


def _end(result: "LoadResult") -> float:
    stopped = result.run.stopped_at_s
    return result.config.duration_s if stopped is None else stopped


def _is_answer(outcome: str) -> bool:
    return outcome.isdecimal() and outcome.startswith("2")


def _failed(tally: Counter[str]) -> dict[str, int]:
    known = (*REFUSALS, UNFINISHED)
    return {
        one: count for one, count in tally.most_common() if one not in known and not _is_answer(one)
    }


def _rate(which: "NDArray[np.bool_]", seconds: float) -> float:
    return float(which.sum()) / seconds if seconds else 0.0


def _latencies(values: "NDArray[np.float64]", seed: int) -> Latencies:
    return Latencies(
        count=len(values),
        quantiles=latency_quantiles(values.tolist(), seed=seed),
        max_s=float(values.max()) if len(values) else None,
    )


def _invalid(latency: Latencies, slip: Latencies, busy_share: float) -> str | None:
    """Return why the generator, not the server, made the figures; None: it did not."""
    taken_s = {one.fraction: one.value for one in latency.quantiles}
    for late in slip.quantiles:
        taken = taken_s.get(late.fraction)
        if taken is None or late.fraction > JUDGED_UP_TO:
            continue
        if late.value > max(LEAST_SLIP_S, MOST_SLIP_SHARE * taken):
            return (
                f"the generator was late itself: the {late.fraction:.4g} quantile of its slip is "
                f"{late.value * 1e3:.3g} ms, that of the latency {taken * 1e3:.3g} ms; lower "
                "the rate, or run the load test where the processor is free"
            )
    if busy_share > MOST_BUSY_SHARE:
        return (
            f"the generator was busy {busy_share:.0%} of the time, so the rate may be its own "
            "limit; lower it, or start several load tests side by side"
        )
    return None


def _notes(result: "LoadResult", tally: Counter[str]) -> Sequence[str]:
    """Return what a reader of the figures must know."""
    run, config = result.run, result.config
    notes = list(result.notes)
    if run.waited:
        notes.append(
            f"all {config.max_connections:,} connections were in use: {run.waited:,} requests "
            "waited for one; their latency counts from the moment when they were due"
        )
    repeats = len(run.samples.outcomes) / result.texts
    if repeats > 1 and not config.distinct:
        notes.append(
            f"{result.texts:,} texts were sent {repeats:,.1f} times each: a server that keeps "
            "answers gave some from its cache; --distinct makes them differ"
        )
    if tally[TIMED_OUT]:
        notes.append(
            f"{tally[TIMED_OUT]:,} requests were given up after {config.timeout_s:g} s; they "
            "count with that latency, which is the least it was"
        )
    notes.extend(_outages(result))
    notes.extend(f'first {status}: "{body}"' for status, body in run.bodies.items())
    return notes


def _outages(result: "LoadResult") -> Sequence[str]:
    """Return from when on no connection was had, and whether that ended."""
    samples = result.run.samples
    lost = [
        at for at, one in enumerate(samples.outcomes) if one != UNFINISHED and not _reached(one)
    ]
    if not lost:
        return []
    later = [at for at, one in enumerate(samples.outcomes) if at > lost[-1] and one.isdecimal()]
    end = (
        f"the last was due at {samples.due_s[lost[-1]]:.1f} s, and answers followed"
        if later
        else "none was answered after that"
    )
    return [
        f"the connection to the server failed {len(lost):,} times, first for the request due at "
        f"{samples.due_s[lost[0]]:.1f} s; {end}"
    ]


def _reached(outcome: str) -> bool:
    return outcome.isdecimal() or outcome in (TIMED_OUT, NOT_HTTP)
