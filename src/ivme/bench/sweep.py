"""`ivme bench`: one model by every engine, dtype, device, batch size and length asked for.

A model is loaded once for each device and dtype, and every engine runs on that copy.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from ivme.bench.cases import (
    CALIBRATION_TEXTS,
    Case,
    make_case,
    real_texts,
    synthetic_texts,
    whole_round,
)
from ivme.bench.configuration import BenchConfig
from ivme.bench.listening import Findings, Listener
from ivme.bench.place import Place, settle_place
from ivme.bench.runs import MeasurePlan, failed, measure_case, warm_libraries, why_failed
from ivme.engines.batching import Batching, options_for, resolve_batching
from ivme.engines.protocol import Engine, EngineOptions, Session
from ivme.engines.registry import choose_engine
from ivme.engines.traps import find_model_traps, padding_waste, session_remarks
from ivme.errors import OutOfMemoryError, RefusedError, UsageError, WorkloadError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.memory import HeldMemory, held_memory, release_free_memory
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from ivme.measure.records import Record, new_record
from ivme.models.loading import LoadedModel, load_model
from ivme.models.sources import model_folder


def run_bench(
    config: BenchConfig,
    *,
    command: Sequence[str] = (),
    clock: Clock | None = None,
    listener: Listener | None = None,
) -> Record:
    """Return the record of a sweep; after Ctrl-C, of what was measured until then.

    Raises:
        UsageError: the model, engine, device or texts are not there, or a value is not allowed.
    """
    listener = listener or Listener()
    names = [*config.engines, *([config.versus] if config.versus else [])]
    engines = {name: choose_engine(name) for name in names}
    Batching(order=config.order, padding=config.padding)  # refuses what is not allowed
    texts = None if config.texts is None else config.texts.read(config.seed)
    listener.tell(f"looking for {config.model}")
    model_folder(config.model)
    findings = Findings()
    place = settle_place(config.threads, listener.tell, findings.note)
    devices = [place.device(requested) for requested in config.devices]
    sweep = _Sweep(config, engines, texts, place, findings, listener, clock or SystemClock())
    is_complete = sweep.run([name for name, _ in devices])
    for name, reason in devices:
        findings.note(f"device {name}: {reason}")
    return new_record(
        "bench",
        command or tuple(sys.argv),
        place.as_machine(),
        {**config.as_settings(), "threads": place.threads, "devices": [d for d, _ in devices]},
        measurements=findings.measurements,
        comparisons=findings.comparisons,
        notes=findings.notes,
        is_complete=is_complete,
    )


@dataclass(frozen=True)
class _Sweep:
    """Everything that the steps of one sweep share."""

    config: BenchConfig
    engines: dict[str, tuple[Engine, str | None]]  # with the precision asked for
    texts: tuple[str, ...] | None  # None: made-up texts of config.token_counts
    place: Place
    findings: Findings
    listener: Listener
    clock: Clock

    def run(self, devices: Sequence[str]) -> bool:
        """Measure everything; return False if interrupted before the end."""
        warm_libraries()
        try:
            for device, dtype in product(devices, self.config.dtypes):
                self._bench_model(device, dtype)
        except KeyboardInterrupt:
            self.findings.note("interrupted: what was measured until then is kept")
            return False
        return True

    def _bench_model(self, device: str, dtype: str) -> None:
        """Load the model once, and run it by every engine."""
        release_free_memory()  # of the copy before this one
        held_before = held_memory()
        model = self._load(device, dtype)
        if model is None:
            return
        sessions = self._prepare(model)
        if not sessions:  # every engine refused, and each refusal is kept
            return
        lengths = self.config.token_counts if self.texts is None else (None,)
        for tokens, batch_size in product(lengths, self.config.batch_sizes):
            label = self._label(model, batch_size, tokens)
            try:
                case = self._case(model, sessions, tokens, batch_size)
            except WorkloadError as error:
                where = {"model": model.reference, "batch_size": batch_size, "tokens": tokens}
                self.findings.keep(failed(label, where, str(error)), self.listener)
                continue
            ran = self._measure(model, sessions, case, label, held_before)
            self._compare({name: sessions[name] for name in ran}, case, label)
            self._remark(sessions, case)
        for session in sessions.values():
            session.close()

    def _remark(self, sessions: dict[str, Session], case: Case) -> None:
        """Note what the engines have to say by now, and the traps that they fell into."""
        for name, session in sessions.items():
            for remark in session_remarks(name, session, self.engines[name][1]):
                self.findings.note(f"{name}: {remark}")
        share = 1 - case.real_tokens / case.padded_tokens
        for trap in padding_waste(share, case.batching.order):
            self.findings.note(str(trap))

    def _load(self, device: str, dtype: str) -> LoadedModel | None:
        """Return the model, or None if it does not fit: then a measurement says so."""
        config = self.config
        self.listener.tell(f"loading {config.model}")
        try:
            model = load_model(
                config.model,
                device=device,
                dtype=dtype,
                attention=config.attention,
                kind=config.kind,
                clock=self.clock,
            )
        except OutOfMemoryError as error:
            where = {"model": config.model, "dtype": dtype, "device": device}
            failure = failed(f"{dtype} · {device}", where, f"out of memory: {error}")
            self.findings.keep(failure, self.listener)
            return None
        for note in (*model.notes, *map(str, find_model_traps(model, (self.texts or ())[:1]))):
            self.findings.note(note)
        return model

    def _prepare(self, model: LoadedModel) -> dict[str, Session]:
        """Return a session of every engine that can run the model; the others say why not.

        Running out of memory is such a reason, and so is whatever a library raises.
        """
        config = self.config
        batching = resolve_batching(
            Batching(padding=config.padding), config.max_length or model.max_length
        )
        options = EngineOptions(
            threads=self.place.threads,
            max_length=config.max_length,
            new_tokens=config.new_tokens,
            calibration_texts=(self.texts or ())[:CALIBRATION_TEXTS],
        )
        sessions: dict[str, Session] = {}
        for name, (engine, precision) in self.engines.items():
            self.listener.tell(f"making {name} ready")
            own = replace(options_for(options, batching), precision=precision)
            try:
                with memory_guard():
                    sessions[name] = engine.prepare(model, own)
            except Exception as error:  # libraries fail in their own ways; the sweep goes on
                if isinstance(error, UsageError) and not is_out_of_memory(error):
                    raise
                reason = str(error) if isinstance(error, RefusedError) else why_failed(error)
                where = {"model": model.reference, "engine": name, "kind": model.kind}
                failure = failed(f"{name} · {model.dtype} · {model.device}", where, reason)
                self.findings.keep(failure, self.listener)
        return sessions

    def _label(self, model: LoadedModel, batch_size: int, tokens: int | None) -> str:
        """Return what tells this point of the sweep from the others."""
        parts = [model.dtype] if len(self.config.dtypes) > 1 else []
        parts += [model.device] if len(self.config.devices) > 1 else []
        parts.append(f"batch {batch_size}")
        parts.append(f"{len(self.texts)} texts" if self.texts else f"{tokens} tokens")
        return " · ".join(parts)

    def _case(
        self, model: LoadedModel, sessions: dict[str, Session], tokens: int | None, batch_size: int
    ) -> Case:
        """Return the batches of one point, the same for every engine."""
        config = self.config
        if self.texts is not None:
            texts = real_texts(self.texts, model)
        else:
            assert tokens is not None
            texts = synthetic_texts(model, tokens, batch_size, config.seed)
        batching = Batching(batch_size=batch_size, order=config.order, padding=config.padding)
        session = next(iter(sessions.values()))
        return make_case(texts, batching, session, config.max_length or model.max_length, tokens)

    def _measure(
        self,
        model: LoadedModel,
        sessions: dict[str, Session],
        case: Case,
        label: str,
        held_before: HeldMemory,
    ) -> list[str]:
        """Measure every engine on the case; return the names of those that ran."""
        plan = MeasurePlan(
            budget_s=self.config.budget_s,
            new_tokens=self.config.new_tokens,
            held_before=held_before,
        )
        ran = []
        for name, session in sessions.items():
            full_label = f"{name} · {label}" if len(self.engines) > 1 else label
            self.listener.tell(full_label)
            measurement = measure_case(
                full_label, model, name, session, case, self.place, plan, self.clock
            )
            self.findings.keep(measurement, self.listener)
            if measurement.failure is None:
                ran.append(name)
        return ran

    def _compare(self, sessions: dict[str, Session], case: Case, label: str) -> None:
        """Compare every engine with the one it is asked to be held against, paired."""
        config = self.config
        if config.versus not in sessions or len(sessions) < 2:
            return
        self.listener.tell(f"taking turns · {label}")
        runs = {f"{name} · {label}": whole_round(one, case) for name, one in sessions.items()}
        for comparison in compare(
            runs,
            baseline=f"{config.versus} · {label}",
            plan=ComparePlan(budget_s=config.compare_budget_s, seed=config.seed),
            clock=self.clock,
            threads=dict.fromkeys(runs, self.place.threads),
        ):
            self.findings.keep(comparison, self.listener)
