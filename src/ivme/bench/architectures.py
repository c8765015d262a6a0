"""`ivme compare`: models of different architectures side by side, on the same texts.

All models stay loaded, so that they take turns. Reading is what all of them do: one pass over
the text, and for models that write their first token. Writing is timed apart.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ivme.bench.cases import CALIBRATION_TEXTS, Case, make_case, real_texts, whole_round
from ivme.bench.configuration import TextSource
from ivme.bench.listening import Findings, Listener
from ivme.bench.place import Place, settle_place
from ivme.bench.runs import MeasurePlan, measure_case, warm_libraries
from ivme.engines.batching import Batching
from ivme.engines.protocol import Engine, EngineOptions, Session
from ivme.engines.registry import choose_engine
from ivme.errors import UsageError
from ivme.measure.clock import Clock, SystemClock
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.memory import HeldMemory, held_memory, release_free_memory
from ivme.measure.records import Record, new_record
from ivme.models.kinds import GENERATING
from ivme.models.loading import LoadedModel, load_model
from ivme.models.sources import model_folder


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Models to put side by side, and the texts that they all get.

    Raises UsageError where a value is out of range.
    """

    models: tuple[str, ...]
    texts: TextSource
    engine: str = "transformers"
    batch_size: int = 1
    dtype: str = "float32"
    device: str | None = None
    threads: int | None = None
    max_length: int | None = None  # tokens; None: what the most limited model takes
    new_tokens: int = 16  # that models write, where they write
    budget_s: float = 3.0
    compare_budget_s: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.models) < 2 or len(set(self.models)) < len(self.models):
            raise UsageError(
                f"models {', '.join(self.models)}; expected two different ones or more"
            )
        if self.new_tokens < 2:
            raise UsageError(
                f"new_tokens={self.new_tokens}; expected 2 or more: the first belongs to reading"
            )


def run_compare(
    config: CompareConfig,
    *,
    command: Sequence[str] = (),
    clock: Clock | None = None,
    listener: Listener | None = None,
) -> Record:
    """Return the record of models side by side; after Ctrl-C, of what was measured until then.

    Raises:
        UsageError: a model, the engine, the device or the texts are not there.
        RefusedError: the engine cannot run one of the models.
    """
    listener = listener or Listener()
    engine, precision = choose_engine(config.engine)
    texts = config.texts.read(config.seed)
    for name in config.models:
        listener.tell(f"looking for {name}")
        model_folder(name)
    findings = Findings()
    place = settle_place(config.threads, listener.tell, findings.note)
    device, reason = place.device(config.device)
    findings.note(f"device {device}: {reason}")
    clock = clock or SystemClock()
    line_up = _LineUp(config, engine, precision, texts, place, findings, listener, clock)
    is_complete = line_up.run(device)
    return new_record(
        "compare",
        command or tuple(sys.argv),
        place.as_machine(),
        {**asdict(config), "threads": place.threads, "device": device},
        measurements=findings.measurements,
        comparisons=findings.comparisons,
        notes=findings.notes,
        is_complete=is_complete,
    )


@dataclass(frozen=True, kw_only=True)
class _Entrant:
    """A loaded model with its texts and sessions."""

    model: LoadedModel
    own_memory: HeldMemory  # that loading it added to the process
    reading: Session
    writing: Session | None
    case: Case


@dataclass(frozen=True)
class _LineUp:
    """Everything that the steps of one comparison share."""

    config: CompareConfig
    engine: Engine
    precision: str | None  # None: as the engine does by itself
    texts: tuple[str, ...]
    place: Place
    findings: Findings
    listener: Listener
    clock: Clock

    def run(self, device: str) -> bool:
        """Measure everything; return False if interrupted before the end."""
        warm_libraries()
        try:
            loaded = [self._load(name, device) for name in self.config.models]
            max_length = self._common_length([model for model, _ in loaded])
            entrants = [self._enter(model, size, max_length) for model, size in loaded]
            for entrant in entrants:
                self._measure(entrant)
            self._compare_reading(entrants)
        except KeyboardInterrupt:
            self.findings.note("interrupted: what was measured until then is kept")
            return False
        return True

    def _load(self, name: str, device: str) -> tuple[LoadedModel, HeldMemory]:
        """Return the model and the memory that it takes."""
        self.listener.tell(f"loading {name}")
        release_free_memory()
        before = held_memory()
        model = load_model(name, device=device, dtype=self.config.dtype, clock=self.clock)
        for note in model.notes:
            self.findings.note(f"{name}: {note}")
        return model, held_memory() - before

    def _common_length(self, models: Sequence[LoadedModel]) -> int | None:
        """Return the longest text, in tokens, that every model takes; None: no limit known."""
        if self.config.max_length is not None:
            return self.config.max_length
        limits = [
            model.max_length - (self.config.new_tokens if model.kind == "causal" else 0)
            for model in models
            if model.max_length is not None
        ]
        if limits:
            self.findings.note(f"texts are cut to {min(limits)} tokens, which every model takes")
        return min(limits, default=None)

    def _enter(
        self, model: LoadedModel, own_memory: HeldMemory, max_length: int | None
    ) -> _Entrant:
        options = EngineOptions(
            threads=self.place.threads,
            max_length=max_length,
            new_tokens=1,
            precision=self.precision,
            calibration_texts=self.texts[:CALIBRATION_TEXTS],
        )
        reading, writing = self.engine.prepare(model, options), None
        if model.kind in GENERATING:
            writing = self.engine.prepare(
                model, replace(options, new_tokens=self.config.new_tokens)
            )
        batching = Batching(batch_size=self.config.batch_size)
        case = make_case(real_texts(self.texts, model), batching, reading, max_length)
        return _Entrant(
            model=model, own_memory=own_memory, reading=reading, writing=writing, case=case
        )

    def _measure(self, entrant: _Entrant) -> None:
        """Measure reading, and writing where the model writes."""
        # The other models are loaded too: only this one's own share counts.
        before = held_memory() - entrant.own_memory
        plan = MeasurePlan(budget_s=self.config.budget_s, new_tokens=1, held_before=before)
        self._measure_work(entrant, "read", entrant.reading, plan)
        if entrant.writing is not None:
            plan = replace(plan, new_tokens=self.config.new_tokens)
            self._measure_work(entrant, f"write {plan.new_tokens}", entrant.writing, plan)

    def _measure_work(
        self, entrant: _Entrant, work: str, session: Session, plan: MeasurePlan
    ) -> None:
        label = f"{entrant.model.reference} · {work}"
        self.listener.tell(label)
        name, case = self.config.engine, entrant.case
        measurement = measure_case(
            label, entrant.model, name, session, case, self.place, plan, self.clock
        )
        settings = {**measurement.configuration, "work": work}
        self.findings.keep(replace(measurement, configuration=settings), self.listener)

    def _compare_reading(self, entrants: Sequence[_Entrant]) -> None:
        """Compare every model with the first, in turns, each on one round over the texts."""
        self.listener.tell("taking turns at reading the same texts")
        runs = {one.model.reference: whole_round(one.reading, one.case) for one in entrants}
        budget_s = self.config.compare_budget_s * (len(runs) - 1)
        for comparison in compare(
            runs,
            plan=ComparePlan(budget_s=budget_s, seed=self.config.seed),
            clock=self.clock,
            threads=dict.fromkeys(runs, self.place.threads),
        ):
            self.findings.keep(comparison, self.listener)
