"""Steps of a search: what opens sessions, runs texts and takes time. Each is remembered.

Results are plain JSON, because a journal keeps them. A variant that fails, in whatever way its
library has, is a result too: {"failure": why}.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ivme.engines.answers import has_independent_labels
from ivme.engines.batch_costs import USUAL_COST, BatchCost
from ivme.engines.batching import Batching, make_batches, predict_all
from ivme.engines.cost_fitting import measure_cost
from ivme.engines.protocol import Prediction, ScoringSession, Session
from ivme.engines.traps import session_remarks
from ivme.errors import IvmeError, OutOfMemoryError, UsageError
from ivme.measure.clock import Clock
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from ivme.measure.records import Comparison
from ivme.measure.statistics import median
from ivme.models.kinds import GENERATING
from ivme.tune.journal import Journal
from ivme.tune.material import Material, spread_by_length
from ivme.tune.quality import Gate
from ivme.tune.sessions import Sessions, Unusable
from ivme.tune.space import why_unusable
from ivme.tune.turns import take_turns
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

SCREEN_ROUNDS = 5  # of turns with the leader; two for what is hopeless
PROBE_TEXTS = 4  # that a variant answers before all the others
HOPELESS = 3.0  # times as slow as the leader on these: it is left at that
SLOW = 1.5  # times as slow as the fastest: out of the race
COST_ROUNDS = 3
JUDGED_AT_A_TIME = 64  # texts between looks at whether the gate can still be passed
_REFERENCE_BATCHING = Batching(batch_size=8, order="sorted")  # halved where memory runs out


class _OutOfMemory(Exception):
    """Memory ran out in a step; the message is the library's."""


class VariantFailed(Exception):
    """A variant that failed beside others; the message is the reason."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(reason)
        self.label = label


@dataclass(kw_only=True)
class Steps:
    """Everything that steps share.

    gate_settings: budget, metric and is_judged, as Gate takes them. reload: loads the model on
    another device, for when memory runs out on this one. allow_truncation: tokens that texts may
    be cut to for that reason.
    """

    sessions: Sessions
    journal: Journal
    clock: Clock
    material: Material
    baseline: Variant
    gate_settings: Mapping[str, Any]
    reload: Callable[[str], "LoadedModel"]
    allow_truncation: int | None = None
    seed: int = 0
    _reference: list[Prediction] = field(default_factory=list)
    _reference_batching: Batching = _REFERENCE_BATCHING

    @property
    def model(self) -> "LoadedModel":
        """The model that all variants run."""
        return self.sessions.model

    @cached_property
    def is_generating(self) -> bool:
        """Whether answers are texts that grow token by token."""
        return self.model.kind in GENERATING

    def start(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return what a text costs the baseline: "text_s", "first_call_s", and "fallbacks".

        Where memory runs out, texts are cut if that is allowed, then the processor takes over;
        either holds for all variants, so that they stay comparable.

        Raises:
            OutOfMemoryError: it does not fit in any way that is allowed.
            UsageError: it cannot run at all.
        """
        result: dict[str, Any] = self.journal.step("baseline", lambda: self._start(texts))
        self._use(result["max_length"], result["device"])
        return result

    def screen(self, variant: Variant, leader: Variant, texts: Sequence[str]) -> dict[str, Any]:
        """Return times of the variant in turns with the leader, or the failure.

        "batch_size": smaller than asked for where memory ran out otherwise; "fallbacks" tell.
        """
        name = f"screen {variant.label} on {len(texts)} texts beside {leader.label}"
        return self.journal.step(name, lambda: self._screen(variant, leader, texts))

    def judge(self, variant: Variant, count: int) -> dict[str, Any]:
        """Return the "quality" on the first `count` judged texts, or the failure.

        "batch_size": as with `screen`; "notes": what became of the reference's batches.
        """
        return self.journal.step(
            f"judge {variant.label} on {count}", lambda: self._tried(variant, self._judge, count)
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation."""
        return self.sessions.get(self.baseline).count_tokens(texts)

    def cost(self, variant: Variant, texts: Sequence[str]) -> tuple[BatchCost, str | None]:
        """Return what batches of the texts' lengths cost the variant, and a note.

        The note says why it is the usual cost; None: it was measured.
        """
        result = self.journal.step(
            f"cost of {variant.label}", lambda: self._tried(variant, self._cost, texts)
        )
        if "failure" in result:
            return USUAL_COST, f"batches are cut by the usual cost: {result['failure']}"
        return BatchCost(**result), None

    def phases(
        self, variant: Variant, texts: Sequence[str], whole_s: Sequence[float]
    ) -> dict[str, float]:
        """Return "first_token_s" and "next_token_s"; nothing if it fails or does not generate.

        whole_s: of passes over the texts.
        """
        if not self.is_generating:
            return {}
        result: dict[str, Any] = self.journal.step(
            f"phases of {variant.label} on {len(texts)} texts",
            lambda: self._tried(variant, self._phases, texts, whole_s),
        )
        return {} if "failure" in result else result

    def race(
        self, variants: Sequence[Variant], rounds: int, texts: Sequence[str], hopeless: float
    ) -> dict[str, Any]:
        """Return "samples_s" and "failures" by label; the first of the variants leads.

        "batch_sizes" and "fallbacks", by label too: of those that memory allows smaller batches.
        """
        labels = ", ".join(one.label for one in variants)
        return self.journal.step(
            f"race of {rounds} rounds on {len(texts)} texts: {labels}",
            lambda: self._race(variants, rounds, texts, hopeless),
        )

    def compare(
        self, variant: Variant, other: Variant, texts: Sequence[str], budget_s: float
    ) -> Comparison:
        """Return the paired comparison of a variant with another, A/A control included.

        Raises:
            VariantFailed: one of them did.
            KeyboardInterrupt: at any time; a comparison that was cut short decides nothing.
        """
        same_threads = variant.threads == other.threads
        with self.sessions.held():
            runs = {one.label: self._attempt(one, texts) for one in (other, variant)}
            with memory_guard():
                (comparison,) = compare(
                    runs,
                    baseline=other.label,
                    plan=ComparePlan(budget_s=budget_s, warmup_calls=1, seed=self.seed),
                    clock=self.clock,
                    threads=dict.fromkeys(runs, variant.threads) if same_threads else None,
                )
        if comparison.stopped_by == "interrupted":
            raise KeyboardInterrupt
        if same_threads:
            return comparison
        note = f"threads differ, as the names say: {variant.threads} and {other.threads}"
        return replace(comparison, notes=(*comparison.notes, note))

    def _start(self, texts: Sequence[str]) -> dict[str, Any]:
        fallbacks: list[str] = []
        while True:
            try:
                return {
                    **self._time_baseline(texts),
                    "fallbacks": fallbacks,
                    "max_length": self.sessions.options.max_length,
                    "device": self.model.device,
                }
            except (_OutOfMemory, OutOfMemoryError) as error:
                fallbacks.append(self._make_room(str(error)))
            except IvmeError:
                raise
            except Exception as error:  # Unusable, or a library's own way to fail
                reason = _reason(self.baseline, error)
                raise UsageError(
                    f"{self.model.reference} cannot be tuned: {self.baseline.name}, which all is "
                    f"held against, cannot run it: {reason}"
                ) from error

    def _make_room(self, reason: str) -> str:
        """Cut texts or leave the accelerator; return what was done."""
        length, device = self.allow_truncation, self.model.device
        present = self.sessions.options.max_length or self.model.max_length
        if length is not None and (present is None or length < present):
            self._use(length, device)
            return f"out of memory ({reason}): texts are cut to {length} tokens"
        if device != "cpu":
            self._use(self.sessions.options.max_length, "cpu")
            return f"out of memory on {device} ({reason}): everything runs on the processor"
        raise OutOfMemoryError(
            f"{self.model.reference} ran out of memory with single texts ({reason}); allow "
            "shorter ones with --allow-truncation TOKENS"
        )

    def _use(self, max_length: int | None, device: str) -> None:
        if max_length is not None and max_length != self.sessions.options.max_length:
            self.sessions.use_length(max_length)
        if device != self.model.device:
            self.sessions.keep_only(())
            self.sessions.model = self.reload(device)

    def _time_baseline(self, texts: Sequence[str]) -> dict[str, Any]:
        run = self._run(self.baseline, texts)
        first_s = self._guarded(lambda: self.clock.time(self._run(self.baseline, texts[:1])))
        text_s = self._guarded(lambda: self.clock.time(run)) / len(texts)
        phases = self._phases(self.baseline, texts, [text_s * len(texts)])
        return {"text_s": text_s, "first_call_s": first_s, "phases": phases}

    def _screen(self, variant: Variant, leader: Variant, texts: Sequence[str]) -> dict[str, Any]:
        return self._with_less(variant, lambda one: self._time_beside(one, leader, texts))

    def _with_less(
        self, variant: Variant, run: Callable[[Variant], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what `run` finds, in smaller batches where memory runs out; or the failure."""
        fallbacks: list[str] = []
        while True:
            try:
                found = run(variant)
            except (_OutOfMemory, OutOfMemoryError) as error:
                size = variant.batching.batch_size
                if size == 1:
                    return {"failure": f"out of memory with single texts: {error}"}
                variant = with_batch_size(variant, size // 2)
                fallbacks.append(f"out of memory with batch {size}: batch {size // 2}")
            except UsageError:
                raise
            except Exception as error:  # libraries fail in their own ways; the search goes on
                return {"failure": _reason(variant, error)}
            else:
                size = variant.batching.batch_size
                return {**found, "batch_size": size, "fallbacks": fallbacks}

    def _tried(
        self, variant: Variant, run: Callable[..., dict[str, Any]], *arguments: Any
    ) -> dict[str, Any]:
        """Return what `run` finds of the variant, or the failure."""
        try:
            return run(variant, *arguments)
        except UsageError:
            raise
        except Exception as error:  # libraries fail in their own ways; the search goes on
            return {"failure": _reason(variant, error)}

    def _time_beside(
        self, variant: Variant, leader: Variant, texts: Sequence[str]
    ) -> dict[str, Any]:
        start_s = self.clock.now()
        session = self.sessions.get(variant)
        prepare_s = self.clock.now() - start_s
        few = spread_by_length(texts, PROBE_TEXTS)
        first_s = self._guarded(lambda: self.clock.time(self._run(variant, few)))
        samples_s = self._beside(variant, leader, few, 1)
        is_hopeless = samples_s["variant"][0] > HOPELESS * samples_s["leader"][0]
        if not is_hopeless:
            samples_s = self._beside(variant, leader, texts, SCREEN_ROUNDS)
        return {
            "prepare_s": prepare_s,
            "first_call_s": first_s,
            "samples_s": samples_s,
            "texts": len(few if is_hopeless else texts),
            "precision": session.precision,
            "notes": session_remarks(variant.engine, session, variant.precision),
            "phases": {} if is_hopeless else self._phases(variant, texts, samples_s["variant"]),
        }

    def _beside(
        self, variant: Variant, leader: Variant, texts: Sequence[str], rounds: int
    ) -> dict[str, list[float]]:
        """Return the times of the variant and of the leader, in turns."""
        with self.sessions.held():
            runs = {"leader": self._run(leader, texts), "variant": self._run(variant, texts)}
            samples_s: dict[str, list[float]] = self._guarded(
                lambda: take_turns(
                    runs, rounds, self.clock, seed=self.seed, leader="leader", hopeless_ratio=SLOW
                )
            )
        return samples_s

    def _phases(
        self, variant: Variant, texts: Sequence[str], whole_s: Sequence[float]
    ) -> dict[str, float]:
        """Return the seconds to the first token and of each later one, of a batch."""
        new_tokens = self.sessions.options.new_tokens
        if not self.is_generating or new_tokens < 2:
            return {}
        session = self.sessions.get(variant, 1)
        run = lambda: predict_all(session, texts, variant.batching)  # noqa: E731 - a plain call
        seconds = self._guarded(lambda: take_turns({"": run}, 3, self.clock)[""])
        calls = len(make_batches(session.count_tokens(texts), variant.batching))
        first_s, whole = median(seconds), median(whole_s)
        return {
            "first_token_s": first_s / calls,
            "next_token_s": max(0.0, whole - first_s) / calls / (new_tokens - 1),
        }

    def _judge(self, variant: Variant, count: int) -> dict[str, Any]:
        notes = self._answer_as_reference(count)
        return {**self._with_less(variant, lambda one: self._judged(one, count)), "notes": notes}

    def _judged(self, variant: Variant, count: int) -> dict[str, Any]:
        labels = self.material.labels
        gate = Gate(
            kind=self.model.kind,
            reference=self._reference[:count],
            labels=None if labels is None else labels[:count],
            has_independent_labels=has_independent_labels(self.model),
            **self.gate_settings,
        )
        session, texts = self.sessions.get(variant), self.material.judged[:count]
        answers: list[Prediction] = []
        for at in range(0, count, JUDGED_AT_A_TIME):
            some = texts[at : at + JUDGED_AT_A_TIME]
            answers += self._guarded(partial(self._answers, session, some, variant.batching))
            if gate.is_hopeless(answers):
                break
        return {"quality": gate.judge(answers).as_facts()}

    def _cost(self, variant: Variant, texts: Sequence[str]) -> dict[str, Any]:
        session = self.sessions.get(variant)
        lengths = sorted(session.count_tokens(texts))
        word = self.model.tokenizer.mask_token if self.model.kind == "masked" else "the"
        quarters = (lengths[0], lengths[len(lengths) // 2], lengths[-1])
        cost = self._guarded(
            lambda: measure_cost(
                session,
                lengths=sorted(set(quarters)),
                rounds=COST_ROUNDS,
                word=word,
                clock=self.clock,
            )
        )
        return asdict(cost)

    def _answer_as_reference(self, count: int) -> list[str]:
        """Have the baseline's answers ready; return what its memory took."""
        notes: list[str] = []
        while len(self._reference) < count:
            size = self._reference_batching.batch_size
            try:
                self._reference = self._guarded(lambda: self._reference_answers(count))
            except _OutOfMemory:
                if size == 1:
                    raise OutOfMemoryError(
                        f"{self.baseline.name} ran out of memory with single texts where quality "
                        "is judged; allow shorter ones with --allow-truncation TOKENS"
                    ) from None
                self._reference_batching = replace(_REFERENCE_BATCHING, batch_size=size // 2)
                notes.append(
                    f"out of memory with the reference's batches of {size}: batches of {size // 2}"
                )
        return notes

    def _reference_answers(self, count: int) -> list[Prediction]:
        session = self.sessions.get(self.baseline)
        return self._answers(session, self.material.judged[:count], self._reference_batching)

    def _answers(
        self, session: Session, texts: Sequence[str], batching: Batching
    ) -> list[Prediction]:
        """Return the predictions; of causal models with how likely each text's own end is."""
        answers = predict_all(session, texts, batching)
        if self.model.kind != "causal" or not isinstance(session, ScoringSession):
            return answers
        return [
            replace(answer, log_likelihood=session.score(text))
            for answer, text in zip(answers, texts, strict=True)
        ]

    def _race(
        self, variants: Sequence[Variant], rounds: int, texts: Sequence[str], hopeless: float
    ) -> dict[str, Any]:
        runs: dict[str, Callable[[], object]] = {}
        found: dict[str, dict[str, Any]] = {}
        with self.sessions.held():
            for one in variants:
                facts = self._with_less(one, lambda less: self._pass_once(less, texts))
                found[one.label] = facts
                if "failure" not in facts:
                    less = with_batch_size(one, facts["batch_size"])
                    runs[one.label] = self._attempt(less, texts, one.label)
            samples_s, failures = self._turns(runs, rounds, hopeless)
        failures |= {name: one["failure"] for name, one in found.items() if "failure" in one}
        smaller = {name: one for name, one in found.items() if one.get("fallbacks")}
        return {
            "samples_s": samples_s,
            "failures": failures,
            "batch_sizes": {name: one["batch_size"] for name, one in smaller.items()},
            "fallbacks": {name: one["fallbacks"] for name, one in smaller.items()},
        }

    def _pass_once(self, variant: Variant, texts: Sequence[str]) -> dict[str, Any]:
        self._guarded(self._run(variant, texts))
        return {}

    def _turns(
        self, runs: Mapping[str, Callable[[], object]], rounds: int, hopeless: float
    ) -> tuple[dict[str, list[float]], dict[str, str]]:
        """Return the samples of the runs in turns, and why some failed: turns begin again."""
        left, failures = dict(runs), dict[str, str]()
        while True:
            try:
                with memory_guard():
                    samples_s = take_turns(
                        left,
                        rounds,
                        self.clock,
                        seed=self.seed,
                        leader=next(iter(left), None),
                        hopeless_ratio=hopeless,
                    )
            except VariantFailed as error:
                failures[error.label] = str(error)
                del left[error.label]
            else:
                return samples_s, failures

    def _attempt(
        self, variant: Variant, texts: Sequence[str], label: str | None = None
    ) -> Callable[[], object]:
        """Return what `_run` does; a failure becomes VariantFailed of the label.

        The call sets no guard of memory: that would be timed with it.
        """

        def attempt(run: Callable[[], Any]) -> Any:
            try:
                return run()
            except UsageError:
                raise
            except Exception as error:  # libraries fail in their own ways; the search goes on
                raise VariantFailed(label or variant.label, _reason(variant, error)) from error

        run: Callable[[], object] = attempt(lambda: self._run(variant, texts))
        return lambda: attempt(run)

    def _run(self, variant: Variant, texts: Sequence[str]) -> Callable[[], object]:
        """Return a call that answers all the texts, ready to be timed."""
        session = self.sessions.get(variant)
        return lambda: predict_all(session, texts, variant.batching)

    def _guarded(self, run: Callable[[], Any]) -> Any:
        """Return what a call gives; memory that runs out becomes _OutOfMemory."""
        try:
            with memory_guard():
                return run()
        except Exception as error:
            if isinstance(error, OutOfMemoryError) or is_out_of_memory(error):
                raise _OutOfMemory((str(error).strip().splitlines() or ["no memory"])[0]) from error
            raise


def _reason(variant: Variant, error: Exception) -> str:
    """Return in one line why a variant failed."""
    is_ours = isinstance(error, _OutOfMemory | OutOfMemoryError | Unusable)
    return str(error) if is_ours else why_unusable(variant.engine, error)


def with_batch_size(variant: Variant, batch_size: int) -> Variant:
    """Return the variant with another batch size."""
    return replace(variant, batching=replace(variant.batching, batch_size=batch_size))
