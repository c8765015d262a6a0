"""One configuration, run and written down: from a session and a case to a measurement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ivme.bench.cases import Case
from ivme.bench.place import Place
from ivme.engines.protocol import Session, StageSeconds
from ivme.errors import UsageError
from ivme.measure.clock import Clock
from ivme.measure.memory import HeldMemory, held_memory
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from ivme.measure.meter import PerformanceMeter
from ivme.measure.records import Measurement
from ivme.models.loading import LoadedModel
from ivme.models.operations import forward_flops
from ivme.models.quiet import quiet_libraries

WARMUP_CALLS = 2  # after the first call
LEAST_CALLS = 5  # of steady state, whatever the budget: fewer say nothing about their scatter
TOKENIZER_CALLS = 10


def warm_libraries() -> None:
    """Import what loading a model imports, so that no model's memory figure counts it."""
    import importlib

    with quiet_libraries():
        for name in ("torch", "transformers.pipelines", "transformers.modeling_utils"):
            importlib.import_module(name)


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """Return what a record says about a model, beside its figures."""
    return {
        "architecture": model.architecture,
        "good_for": model.good_for,
        "parameters": model.parameters,
        "weight_bytes": model.weight_bytes,
        "max_length": model.max_length,
        "attention": model.attention,
        "content_hash": model.content_hash,
    }


def configuration_of(model: LoadedModel, engine: str, case: Case, place: Place) -> dict[str, Any]:
    """Return the settings that tell this measurement from its neighbors."""
    return {
        "model": model.reference,
        "engine": engine,
        "kind": model.kind,
        "dtype": model.dtype,
        "device": model.device,
        "threads": place.threads,
        "batch_size": case.batching.batch_size,
        "tokens": case.tokens,
        "padding": case.batching.padding,
        "order": case.batching.order,
    }


@dataclass(frozen=True, kw_only=True)
class MeasurePlan:
    """How long to measure a case, and what its figures are relative to."""

    budget_s: float
    new_tokens: int
    held_before: HeldMemory  # by the process before the model was loaded


def measure_case(
    label: str,
    model: LoadedModel,
    engine: str,
    session: Session,
    case: Case,
    place: Place,
    plan: MeasurePlan,
    clock: Clock,
) -> Measurement:
    """Return the measurement of a session that runs a case's batches in turn.

    Running out of memory, or an operation that is not there, is a result: the measurement says so
    and keeps the samples until then.
    Calls go on until the budget is spent and every batch has run equally often.
    """
    ceiling, ceiling_path = place.ceiling(session.precision, model.device)
    meter = PerformanceMeter(
        label,
        items_per_call=case.items_per_call,
        tokens_per_call=case.tokens_per_call,
        padded_tokens_per_call=case.padded_tokens_per_call,
        flops_per_call=flops_per_call(model, case, plan.new_tokens),
        ceiling_flops=ceiling,
        device=model.device,
        configuration=configuration_of(model, engine, case, place),
        warmup_calls=WARMUP_CALLS,
        clock=clock,
    )
    held = held_memory() - plan.held_before
    stages, batches, failure = StageSeconds(), case.endless_batches(), None
    try:
        with memory_guard():
            _run_rounds(
                meter, lambda: session.predict(next(batches), stages), case, plan.budget_s, clock
            )
    except UsageError:
        raise
    except Exception as error:  # libraries fail in their own ways; the sweep goes on
        failure = why_failed(error)
    _add_stages(meter, stages)
    if failure is None:
        _add_tokenizer(meter, model, case, clock)
    measurement = meter.measurement(
        failure=failure,
        facts={
            **describe_model(model),
            "precision": session.precision,
            "ceiling_path": ceiling_path,
        },
    )
    return replace(
        measurement,
        samples_s={"load": (model.load_s,), **measurement.samples_s},
        peak_memory_bytes=_with_held(held.resident_bytes, measurement.peak_memory_bytes),
        cuda_peak_memory_bytes=_with_held(held.cuda_bytes, measurement.cuda_peak_memory_bytes),
    )


def flops_per_call(model: LoadedModel, case: Case, new_tokens: int) -> float | None:
    """Return the mean floating-point operations of a call, padding included.

    Counted at three lengths at most: operations are a polynomial of degree two in the length
    (attention is the square), and proportional to the batch.
    """
    import numpy as np

    lengths = sorted(set(case.padded_lengths))
    knots = sorted({lengths[0], lengths[len(lengths) // 2], lengths[-1]})
    counts = [forward_flops(model, 1, tokens, new_tokens=new_tokens) for tokens in knots]
    if None in counts:
        return None
    polynomial = np.polyfit(knots, np.array(counts, dtype=float), len(knots) - 1)
    sizes = [len(batch) for batch in case.batches]
    return float(np.mean(np.polyval(polynomial, case.padded_lengths) * sizes))


def failed(label: str, configuration: dict[str, Any], reason: str) -> Measurement:
    """Return the measurement of a configuration that could not start."""
    return Measurement(label=label, configuration=configuration, failure=reason)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def why_failed(error: Exception) -> str:
    """Return what a record says of an error that a library or an engine raised."""
    if is_out_of_memory(error):
        return f"out of memory: {first_line(error)}"
    return f"{type(error).__name__}: {first_line(error)}"


def _run_rounds(
    meter: PerformanceMeter,
    run: Callable[[], object],
    case: Case,
    budget_s: float,
    clock: Clock,
) -> None:
    """Run whole rounds over the batches, so that each weighs the same in every figure."""
    start_s, calls = clock.now(), 0
    meter.warm_up(run)
    with meter.watching_gpu():
        while calls < LEAST_CALLS or clock.now() - start_s < budget_s:
            meter.measure(run, calls=len(case.batches))
            calls += len(case.batches)


def _with_held(held_bytes: int, growth_bytes: int | None) -> int | None:
    """Return the peak with what was held before it grew; None if no growth was watched."""
    return None if growth_bytes is None else held_bytes + growth_bytes


def _add_stages(meter: PerformanceMeter, stages: StageSeconds) -> None:
    """Keep the stages of the steady-state calls, those that the latency figures are of."""
    for name, seconds in (
        ("encode", stages.encode_s),
        ("forward", stages.forward_s),
        ("decode", stages.decode_s),
    ):
        meter.add_stage(name, seconds[1 + WARMUP_CALLS :])


def _add_tokenizer(meter: PerformanceMeter, model: LoadedModel, case: Case, clock: Clock) -> None:
    """Time the tokenizer alone, both ways, on a batch of the case."""
    texts = list(case.batches[0])
    ids = model.tokenizer(texts, truncation=True)["input_ids"]
    ways: dict[str, Callable[[], object]] = {
        "tokenizer_encode": lambda: model.tokenizer(texts, truncation=True),
        "tokenizer_decode": lambda: model.tokenizer.batch_decode(ids),
    }
    for name, run in ways.items():
        meter.add_stage(name, [clock.time(run) for _ in range(TOKENIZER_CALLS)])
