"""From a trained transformer to its plan: the fastest way to run it that keeps its quality.

Either by a search (ivme.tune), or quickly: of a few exports, the likeliest to be fast first, the
first one that the quality gate lets through. Plans are for the processor; a GPU takes the weights.
"""

import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.ensemble.groups import readable_text
from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.errors import IvmeError, UsageError
from ivme.hardware.threads import check_threads
from ivme.measure.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ivme.engines.protocol import EngineOptions, Prediction
    from ivme.measure.records import Record
    from ivme.models.loading import LoadedModel
    from ivme.tune.quality import Gate, Quality
    from ivme.tune.variants import Variant

# Tried in this order without a search; float32 loses nothing by definition.
QUICK = (
    ("fused", "int8"),
    ("openvino", "int8-static"),
    ("onnxruntime", "int8"),
    ("openvino", "bfloat16"),
    ("openvino", "float32"),
    ("onnxruntime", "float32"),
    ("transformers", "float32"),
)
EXACT = "float32"
HELD_OUT = "held-out texts"  # in records, for the file that quality was judged on
PROBE_TEXTS = 4  # that say how long a text takes
FIRST_LOOK = 64  # texts, after which what is hopeless is given up
MORE = 4  # times as many texts are judged at most where so few leave it open
MOST_CHARACTERS = 100_000  # of a text that is judged


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How plans are made.

    search_s: seconds of search for each transformer; None: the quick way. max_quality_loss: of
    accuracy, as a share; the gate looks at the upper bound. judge_s: seconds that float32 may take
    to answer the texts that quality is judged on, in the quick way; up to four times that where
    a variant would pass if it did as well on more of them. threads: that members will run
    on. engines: NAME or NAME:PRECISION; empty: all. seed: of the order in which texts are judged.
    """

    search_s: float | None = None
    max_quality_loss: float = 0.01
    judge_s: float = 180.0  # a bound of 1% takes some 300 texts
    threads: int = 1
    engines: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        from ivme.tune.quality import check_budget

        check_budget(self.max_quality_loss)
        for name, value in (("search_s", self.search_s), ("judge_s", self.judge_s)):
            if value is not None and not value > 0:
                raise UsageError(f"{name}={value}; expected more than 0")
        check_threads(self.threads)
        if self.search_s is None and self.engines and not quick_choices(self.engines):
            known = ", ".join(f"{engine}:{precision}" for engine, precision in QUICK)
            raise UsageError(
                f"engines={', '.join(self.engines)}; without a search expected some of {known}"
            )


def quick_choices(engines: Sequence[str]) -> list[tuple[str, str]]:
    """Return those of QUICK that "NAME" or "NAME:PRECISION" ask for; all if none is given."""
    return [
        (engine, precision)
        for engine, precision in QUICK
        if not engines or engine in engines or f"{engine}:{precision}" in engines
    ]


def make_plan(
    name: str,
    weights: Path,
    folder: Path,
    judged: LabeledTexts,
    *,
    settings: PlanSettings,
    progress: Callable[[str], None] = lambda line: None,
    on_search: "Callable[[Record], None]" = lambda record: None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Write the plan of a trained classifier into the folder; return how it was chosen.

    judged: texts that it was not trained on; quality is what is lost on them. on_search: given
    the record of the search, if there is one.

    Raises:
        IvmeError: no way to run it keeps the quality.
    """
    if settings.search_s is not None:
        how = _search(name, weights, folder, judged, settings, progress, on_search)
        if how is not None:
            return how
        settings = replace(settings, engines=_exact_engines(settings.engines))
    progress(f"Exporting {name}...")
    return _QuickChoice(name, weights, judged, settings, clock or SystemClock()).write(
        folder, progress
    )


def _exact_engines(engines: Sequence[str]) -> tuple[str, ...]:
    """Return those of the engines that compute as the weights were trained, all if none can."""
    exact = [(one, precision) for one, precision in QUICK if precision == EXACT]
    asked = [one for one in exact if one in quick_choices(engines)]
    return tuple(f"{engine}:{precision}" for engine, precision in asked or exact)


def _search(
    name: str,
    weights: Path,
    folder: Path,
    judged: LabeledTexts,
    settings: PlanSettings,
    progress: Callable[[str], None],
    on_search: "Callable[[Record], None]",
) -> dict[str, Any] | None:
    """Return how the plan was found; None if nothing that is faster is sure to keep quality."""
    from ivme.bench.configuration import TextSource
    from ivme.tune.configuration import TuneConfig
    from ivme.tune.tuning import run_tune

    assert settings.search_s is not None
    progress(f"Tuning {name}: a search of {settings.search_s:.0f} s...")
    with tempfile.TemporaryDirectory(prefix="ivme-tune-") as scratch:
        path = Path(scratch) / "judged.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = zip(_readable(judged.texts), judged.labels, strict=True)
            csv.writer(file).writerows([("text", "label"), *rows])
        config = TuneConfig(
            model=str(weights),
            name=name,
            texts=TextSource(file=str(path), column="text"),
            labels="label",
            max_quality_loss=settings.max_quality_loss,
            budget_s=settings.search_s,
            engines=settings.engines,
            threads=(settings.threads,),
            device="cpu",
            kind="classifier",
            seed=settings.seed,
        )
        result = run_tune(config, folder, command=("ivme", "ensemble", "train"))
    if not result.record.is_complete:
        raise KeyboardInterrupt  # what it was for ends, and the draft with the search's journal
    texts = {**result.record.settings["texts"], "file": HELD_OUT}  # the file is gone
    on_search(replace(result.record, settings={**result.record.settings, "texts": texts}))
    if result.plan is None or result.chosen is None:
        progress(f"{name} stays in {EXACT}: {result.failure}")
        return None
    progress(f"{name} runs on {result.plan.variant.label}")
    return {
        "how": "search",
        "seconds": settings.search_s,
        "variant": result.plan.variant.label,
        "quality": result.chosen.quality,
    }


class _QuickChoice:
    """The first of a few variants that keeps the quality of float32."""

    def __init__(
        self, name: str, weights: Path, judged: LabeledTexts, settings: PlanSettings, clock: Clock
    ) -> None:
        from ivme.engines.protocol import EngineOptions
        from ivme.models.loading import load_model
        from ivme.tune.material import drawn, set_apart

        self.name, self.settings = name, settings
        self.model = replace(load_model(str(weights), kind="classifier"), reference=name)
        texts, labels = drawn(_readable(judged.texts), judged.labels, settings.seed)
        calibration, texts, labels = set_apart(texts, labels)
        assert labels is not None
        self.options = EngineOptions(threads=settings.threads, calibration_texts=calibration)
        self.all_texts, self.all_labels = texts, labels
        self.gate = self._first_gate(clock)
        self.most = min(len(texts), MORE * len(self.texts))  # of them, that variants are judged on
        self.tried: list[dict[str, Any]] = []

    def write(self, folder: Path, progress: Callable[[str], None]) -> dict[str, Any]:
        """Write the plan of the first variant that passes, and return what was tried."""
        from ivme.tune.plan import write_plan

        for engine, precision in quick_choices(self.settings.engines):
            variant = _variant(engine, precision, self.settings.threads)
            reason = self._why_not(variant)
            self.tried[-1]["reason"] = reason
            if reason is not None:
                progress(f"{self.name} not on {variant.name}: {reason}")
                continue
            evidence = {"how": "quick", "tried": self.tried}
            write_plan(
                folder, model=self.model, variant=variant, options=self.options, evidence=evidence
            )
            progress(f"{self.name} runs on {variant.name}")
            return {"how": "quick", "variant": variant.label, "tried": self.tried}
        reasons = "; ".join(f"{one['name']}: {one['reason']}" for one in self.tried)
        raise IvmeError(
            f"member {self.name} cannot be run within a quality loss of "
            f"{self.settings.max_quality_loss:.1%}: {reasons}; allow more, or other engines"
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """Those that variants are judged on."""
        return tuple(self.all_texts[: len(self.gate.reference)])

    def _first_gate(self, clock: Clock) -> "Gate":
        """Return a gate of as many texts as float32 answers in the time there is."""
        from ivme.tune.quality import Gate

        start_s = clock.now()
        reference = self._reference(self.all_texts[:PROBE_TEXTS])
        each_s = max((clock.now() - start_s) / len(reference), 1e-6)
        count = max(PROBE_TEXTS, min(len(self.all_texts), int(self.settings.judge_s / each_s)))
        reference += self._reference(self.all_texts[PROBE_TEXTS:count])
        return Gate(
            kind="classifier",
            reference=reference,
            budget=self.settings.max_quality_loss,
            labels=self.all_labels[: len(reference)],
        )

    def _gate_of(self, count: int) -> "Gate":
        """Return the gate with more texts, so many of them."""
        more = self._reference(self.all_texts[len(self.gate.reference) : count])
        reference = [*self.gate.reference, *more]
        return replace(self.gate, reference=reference, labels=self.all_labels[: len(reference)])

    def _reference(self, texts: Sequence[str]) -> "list[Prediction]":
        variant = _variant("transformers", EXACT, self.settings.threads)
        with _session(self.model, variant, self.options) as answers:
            return answers(texts)

    def _quality(self, variant: "Variant") -> "Quality":
        """Return what the variant loses, judged on as many texts as it takes to tell."""
        with _session(self.model, variant, self.options) as answers:
            found = answers(self.texts[:FIRST_LOOK])
            if self.gate.is_hopeless(found):
                return self.gate.judge(found)
            found += answers(self.texts[FIRST_LOOK:])
            quality = self.gate.judge(found)
            if quality.is_accepted or variant.precision == EXACT:
                return quality
            if quality.texts_needed is None or quality.texts_needed > self.most:
                return quality
            # As good on more texts would do. One more look at them, not one after the other until
            # it passes: each look is a chance to pass by luck.
            self.gate = self._gate_of(self.most)
            return self.gate.judge([*found, *answers(self.texts[len(found) :])])

    def _why_not(self, variant: "Variant") -> str | None:
        """Return why the variant is not taken; None: it is. Keeps what was found in `tried`."""
        from ivme.tune.space import load_engines, why_unusable

        self.tried.append({"name": variant.name, "quality": None})
        engine = load_engines([variant.engine])[variant.engine]
        refusal = engine if isinstance(engine, str) else engine.refusal(self.model)
        if refusal is not None:
            return refusal
        try:
            quality = self._quality(variant)
        except Exception as error:  # libraries fail in their own ways; the next may do
            return why_unusable(variant.engine, error)
        self.tried[-1]["quality"] = quality.as_facts()
        if variant.precision == EXACT or quality.is_accepted:
            return None
        return (
            f"it may lose {quality.loss_bound:.2%} of accuracy (found {quality.loss:.2%} on "
            f"{quality.texts} texts), more than {quality.budget:.2%}"
        )


@contextmanager
def _session(
    model: "LoadedModel", variant: "Variant", options: "EngineOptions"
) -> "Iterator[Callable[[Sequence[str]], list[Prediction]]]":
    """Yield what answers texts the variant's way."""
    from ivme.engines.batching import Batching, predict_all
    from ivme.engines.registry import get_engine

    session = get_engine(variant.engine).prepare(model, variant.options(options))
    try:
        yield (
            lambda texts: (
                predict_all(session, texts, Batching(batch_size=16, order="packed"))
                if texts
                else []
            )
        )
    finally:
        session.close()


def _variant(engine: str, precision: str, threads: int) -> "Variant":
    from ivme.engines.batching import Batching
    from ivme.tune.variants import Variant

    return Variant(engine=engine, precision=precision, threads=threads, batching=Batching())


def _readable(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(readable_text(text, MOST_CHARACTERS) for text in texts)
