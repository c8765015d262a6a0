"""Made-up engines whose speed and mistakes are known, on a clock that moves when they work."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ivme.engines.batching import Batching
from ivme.engines.protocol import EngineOptions, Prediction, Session, StageSeconds
from ivme.errors import OutOfMemoryError, RefusedError
from ivme.measure.clock import Clock
from ivme.models.loading import LoadedModel
from ivme.tune.configuration import TuneConfig
from ivme.tune.journal import Journal
from ivme.tune.material import Material
from ivme.tune.search import Search
from ivme.tune.tuning import make_search

LABELS = ("LABEL_0", "LABEL_1")


class StillClock(Clock):
    """Time passes only where `work` says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def rest(self) -> None:
        """Nothing spins here."""

    def now(self) -> float:
        return self.now_s

    def time(self, run) -> float:
        start_s = self.now_s
        run()
        return self.now_s - start_s

    def work(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a planted engine behaves in one precision."""

    text_s: float  # of a text on one thread
    call_s: float = 0.0  # of a call, whatever it holds
    prepare_s: float = 0.5
    thread_gain: float = 0.8  # of a second thread and each further one
    flips: float = 0.0  # share of texts that it answers otherwise
    refuses: str | None = None
    most_together: int = 10**9  # texts in a call; more run out of memory
    precision: str | None = None  # that it really computes in
    bucket_gain: float = 0.0  # share of its time that padding to buckets saves
    bucket_flips: float = 0.0  # share of texts that it then answers otherwise
    token_s: float = 0.0  # of a call, for each token that it generates behind the first


@dataclass(kw_only=True)
class PlantedEngine:
    """An engine that takes planted times; it counts what it was asked."""

    name: str
    clock: StillClock
    traits: Mapping[str, Traits]
    summary: str = "made up"
    refusal_reason: str | None = None
    prepared: list[str] = field(default_factory=list)
    calls: int = 0
    open_sessions: int = 0
    broken: set[str] = field(default_factory=set)  # precisions whose next call fails

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.traits)

    def refusal(self, model: LoadedModel) -> str | None:
        return self.refusal_reason

    def prepare(self, model: LoadedModel, options: EngineOptions) -> "PlantedSession":
        assert options.precision is not None
        traits = self.traits[options.precision]
        self.prepared.append(options.precision)
        self.clock.work(traits.prepare_s)
        if traits.refuses:
            raise RefusedError(traits.refuses)
        self.open_sessions += 1
        return PlantedSession(self, traits, options)


class PlantedSession(Session):
    def __init__(self, engine: PlantedEngine, traits: Traits, options: EngineOptions) -> None:
        if options.buckets:
            text_s = traits.text_s * (1 - traits.bucket_gain)
            traits = replace(traits, text_s=text_s, flips=max(traits.flips, traits.bucket_flips))
        self._engine, self._traits, self._threads = engine, traits, options.threads
        self._later_tokens = options.new_tokens - 1
        self._asked, self._is_closed = options.precision, False
        self.precision = traits.precision or options.precision or ""
        self.notes: tuple[str, ...] = ()

    def predict(self, texts: Sequence[str], stages: StageSeconds | None = None) -> list[Prediction]:
        traits = self._traits
        assert not self._is_closed
        if self._asked in self._engine.broken:
            raise RuntimeError("planted break")
        if len(texts) > traits.most_together:
            raise OutOfMemoryError("out of memory: planted")
        self._engine.calls += 1
        speedup = 1 + traits.thread_gain * (self._threads - 1)
        call_s = traits.call_s + traits.token_s * self._later_tokens
        self._engine.clock.work(call_s + traits.text_s * len(texts) / speedup)
        return [answer_to(text, traits.flips) for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def close(self) -> None:
        self._is_closed = True
        self._engine.open_sessions -= 1


def answer_to(text: str, flips: float = 0.0) -> Prediction:
    """Return an answer that depends on the text alone, another for that share of texts."""
    number = zlib.crc32(text.encode())
    at = number % 2
    if (number // 2) % 10_000 < flips * 10_000:
        at = 1 - at
    probabilities = np.full(2, 0.2, dtype=np.float32)
    probabilities[at] = 0.8
    return Prediction(label=LABELS[at], probabilities=probabilities)


def planted_engines(
    clock: StillClock, traits: Mapping[str, Mapping[str, Traits]]
) -> dict[str, PlantedEngine]:
    return {name: PlantedEngine(name=name, clock=clock, traits=own) for name, own in traits.items()}


def planted_search(
    config: TuneConfig,
    model: LoadedModel,
    engines: Mapping[str, PlantedEngine],
    clock: StillClock,
    texts: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    journal: Journal | None = None,
    cores: int = 1,
) -> Search:
    """Return a search over planted engines, whose memory is a megabyte each."""
    material = Material(
        timed=tuple(texts),
        judged=tuple(texts),
        labels=None if labels is None else tuple(labels),
        calibration=(),
    )
    search = make_search(
        config,
        model,
        engines,
        material,
        usable_cores=cores,
        journal=Journal(None, {}, clock) if journal is None else journal,
        clock=clock,
    )
    search.measure_memory = lambda variant: 1_000_000
    return search


def true_pass_s(
    engine: PlantedEngine, precision: str, threads: int, texts: int, batching: Batching
) -> float:
    """Return what a pass over so many texts takes in truth, one text a call or all as batches."""
    traits = engine.traits[precision]
    speedup = 1 + traits.thread_gain * (threads - 1)
    calls = -(-texts // batching.batch_size)
    return calls * traits.call_s + texts * traits.text_s / speedup
