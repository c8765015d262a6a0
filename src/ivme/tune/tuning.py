"""`ivme tune`: a model and texts in, a plan and the record of the search out."""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.bench.listening import Listener
from ivme.bench.place import Place, settle_place
from ivme.bench.runs import warm_libraries
from ivme.engines.protocol import Engine, EngineOptions
from ivme.engines.registry import ENGINES
from ivme.engines.traps import find_model_traps
from ivme.errors import UsageError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.records import Record, library_versions, new_record
from ivme.models.loading import LoadedModel, load_model
from ivme.tune.alone import peak_memory_alone
from ivme.tune.configuration import TuneConfig
from ivme.tune.entries import Entry
from ivme.tune.journal import Journal, journal_path
from ivme.tune.material import Material, gather
from ivme.tune.outcome import evidence_of, measurements_of, note_padding
from ivme.tune.search import Search
from ivme.tune.sessions import Sessions
from ivme.tune.space import (
    BASELINE,
    Choice,
    baseline_variant,
    choices_for,
    load_engines,
    thread_counts,
)
from ivme.tune.steps import Steps
from ivme.tune.weights import has_random_weights

if TYPE_CHECKING:
    from ivme.tune.plan import Plan


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a search ends with; `failure` says why nothing was chosen, or no plan written."""

    record: Record
    chosen: Entry | None = None
    plan: "Plan | None" = None
    failure: str | None = None


def run_tune(
    config: TuneConfig,
    output: Path | None = None,
    *,
    command: Sequence[str] = (),
    clock: Clock | None = None,
    listener: Listener | None = None,
    on_entry: Callable[[Entry], None] = lambda entry: None,
) -> TuneResult:
    """Search, and write a plan into the output folder; None: write none.

    Interrupted by Ctrl-C, the record holds what was found until then, and the same call goes on
    from there if it has an output folder. Once the choice is made, only evidence is missing: then
    the plan is written, and says so. on_entry: told of each variant as it is learned of.

    Raises:
        UsageError: the model, an engine, the texts or the labels are not there or do not fit.
        OutOfMemoryError: not even the baseline fits.
    """
    listener, clock = listener or Listener(), clock or SystemClock()
    if output is not None:
        from ivme.tune.plan import check_target

        check_target(output)
    engines = load_engines(_engine_names(config))
    notes: list[str] = []
    listener.tell(f"loading {config.model}")
    place = settle_place(None, listener.tell, notes.append)
    warm_libraries()
    device, reason = place.device(config.device)
    model = _load(config, device, clock)
    material = gather(config, model)
    traps = map(str, find_model_traps(model, material.judged[:1]))
    notes += [f"device {device}: {reason}", *model.notes, *traps, *material.notes]
    search = make_search(
        config,
        model,
        engines,
        material,
        usable_cores=place.threads,
        journal=open_journal(config, model, material, output, clock, place.inventory.fingerprint),
        clock=clock,
        listener=listener,
        on_entry=on_entry,
    )
    search.notes[:0] = notes
    is_complete = _run(search)
    result = _finish(search, output, place, command, is_complete)
    if result.plan is not None or (is_complete and result.chosen is None):
        search.steps.journal.remove()
    return result


def make_search(
    config: TuneConfig,
    model: LoadedModel,
    engines: Mapping[str, Engine | str],
    material: Material,
    *,
    usable_cores: int,
    journal: Journal,
    clock: Clock,
    listener: Listener | None = None,
    on_entry: Callable[[Entry], None] = lambda entry: None,
) -> Search:
    """Return a search over the engines, ready to run.

    engines: by name; a text in place of one: why it cannot be had.

    Raises:
        UsageError: none of the engines that were asked for can be had.
    """

    def choose(model: LoadedModel) -> list[Choice]:
        return choices_for(model, engines, config.engines)

    _refuse_nothing(choose(model), config)
    threads = thread_counts(config, usable_cores)
    usable = {name: one for name, one in engines.items() if not isinstance(one, str)}
    usable.setdefault(BASELINE[0], load_engines([BASELINE[0]])[BASELINE[0]])  # type: ignore[arg-type]
    options = EngineOptions(
        threads=threads[0],
        max_length=config.max_length,
        new_tokens=config.new_tokens,
        calibration_texts=material.calibration,
    )
    is_random = has_random_weights(model)
    steps = Steps(
        sessions=Sessions(usable, model, options, clock),
        journal=journal,
        clock=clock,
        material=material,
        baseline=baseline_variant(threads[0]),
        gate_settings={
            "budget": config.max_quality_loss,
            "metric": config.metric,
            "is_judged": not is_random,
        },
        reload=lambda device: _load(config, device, clock),
        allow_truncation=config.allow_truncation,
        seed=config.seed,
    )
    search = Search(
        config=config,
        steps=steps,
        choose=choose,
        threads=threads,
        measure_memory=lambda variant: peak_memory_alone(
            variant, steps.model, steps.sessions.options, material.timed[:64]
        ),
        listener=listener or Listener(),
        on_entry=on_entry,
    )
    if len(journal):
        search.notes.append(
            f"goes on from an interrupted search: {len(journal)} steps, {journal.taken_s:.0f} s"
        )
    if journal.was_replaced:
        search.notes.append("the journal there was of another search, and was begun anew")
    return search


def _load(config: TuneConfig, device: str, clock: Clock) -> LoadedModel:
    model = load_model(config.model, device=device, kind=config.kind, clock=clock)
    return model if config.name is None else replace(model, reference=config.name)


def open_journal(
    config: TuneConfig,
    model: LoadedModel,
    material: Material,
    output: Path | None,
    clock: Clock,
    machine: str,
) -> Journal:
    """Return the journal beside the output folder; it goes on if nothing has changed since.

    machine: what tells it from others.
    """
    settings = {**config.as_settings(), "budget_s": None}  # more time may be allowed later
    fingerprint = {
        "settings": settings,
        "model": model.content_hash,
        "device": model.device,
        "machine": machine,
        "timed": _hash(material.timed),
        "judged": _hash(material.judged),
        "labels": _hash(material.labels or ()),
        "calibration": _hash(material.calibration),
        "versions": library_versions(),
    }
    return Journal(None if output is None else journal_path(output), fingerprint, clock)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def why_none(search: Search) -> str:
    """Return why nothing was chosen, and how close the best came."""
    budget = search.config.max_quality_loss
    lossy = [one for one in search.entries if one.status == "lossy" and one.quality]
    if lossy:
        closest = min(lossy, key=_bound_of)
        return (
            f"no variant is within the quality budget of {budget:.2%}; {closest.variant.name} came "
            f"closest: {closest.reason}. Allow more with --max-quality-loss, or give more texts"
        )
    large = [one for one in search.entries if one.status == "too large"]
    if large:
        return (
            f"no variant is within --max-memory; {large[0].variant.name} came closest: "
            f"{large[0].reason}"
        )
    reasons = "; ".join(f"{one.variant.name}: {one.reason}" for one in search.entries if one.reason)
    return f"no variant ran: {reasons}"


def _bound_of(entry: Entry) -> float:
    """Return the bound of an entry's loss; infinite where it cannot be told."""
    bound: float = (entry.quality or {})["loss_bound"]
    return bound if bound == bound else math.inf


def _engine_names(config: TuneConfig) -> list[str]:
    """Return the names of the engines to load; every one that is registered unless named."""
    wanted = [one.partition(":")[0] for one in config.engines]
    return list(dict.fromkeys(wanted)) or list(ENGINES)


def _refuse_nothing(choices: Sequence[Choice], config: TuneConfig) -> None:
    if config.engines and all(one.refusal is not None for one in choices):
        reasons = dict.fromkeys(str(one.refusal) for one in choices)
        raise UsageError(f"none of {', '.join(config.engines)} can run here: {'; '.join(reasons)}")


def _run(search: Search) -> bool:
    """Run the search; return False if it was interrupted."""
    try:
        search.run()
    except KeyboardInterrupt:
        search.notes.append(_interrupted_note(search))
        return False
    return True


def _interrupted_note(search: Search) -> str:
    if search.chosen is None:
        return "interrupted: the same command goes on from here"
    return (
        f"interrupted once {search.chosen.label} was chosen: its figures beside the baseline are "
        "those of a few turns"
    )


def _finish(
    search: Search, output: Path | None, place: Place, command: Sequence[str], is_complete: bool
) -> TuneResult:
    note_padding(search)
    record = new_record(
        "tune",
        command or tuple(sys.argv),
        place.as_machine(),
        {
            **search.config.as_settings(),
            "spent_s": search.spent_s(),
            "decided_s": search.decided_s,
        },
        measurements=measurements_of(search, place),
        comparisons=search.comparisons,
        notes=tuple(dict.fromkeys(search.notes)),
        is_complete=is_complete,
    )
    chosen = search.chosen
    if chosen is None or (output is None and not is_complete):
        failure = why_none(search) if is_complete else "interrupted"
        return TuneResult(record=record, chosen=chosen, failure=failure)
    if output is None:
        return TuneResult(record=record, chosen=chosen)
    try:
        plan = _write(search, chosen, output, place, is_complete)
    except Exception as error:  # the record is worth keeping all the same
        failure = f"{chosen.label} was chosen, and {output} cannot be written: {error}"
        return TuneResult(record=record, chosen=chosen, failure=failure)
    return TuneResult(record=record, chosen=chosen, plan=plan)


def _write(search: Search, chosen: Entry, output: Path, place: Place, is_complete: bool) -> "Plan":
    from ivme.tune.plan import write_plan

    search.listener.tell(f"writing {output}")
    return write_plan(
        output,
        model=search.steps.model,
        variant=chosen.variant,
        options=search.steps.sessions.options,
        evidence=evidence_of(search, chosen),
        machine=place.as_machine(),
        notes=chosen.notes if is_complete else (*chosen.notes, _interrupted_note(search)),
    )
