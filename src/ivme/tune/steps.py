"""Steps of a search: what opens sessions, runs texts and takes time. Each is remembered.

Results are plain JSON, because a journal keeps them. A variant that fails is a result too:
{"failure": why}.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ivme.engines.batch_costs import BatchCost
from ivme.engines.batching import Batching, predict_all
from ivme.engines.cost_fitting import measure_cost
from ivme.engines.protocol import Prediction, ScoringSession, Session
from ivme.engines.traps import session_remarks
from ivme.errors import OutOfMemoryError, UsageError
from ivme.measure.clock import Clock
from ivme.measure.compare import ComparePlan, compare
from ivme.measure.memory_guard import is_out_of_memory, memory_guard
from ivme.measure.records import Comparison
from ivme.measure.statistics import median
from ivme.tune.journal import Journal
from ivme.tune.material import Material, spread_by_length
from ivme.tune.quality import Gate
from ivme.tune.sessions import Sessions, Unusable
from ivme.tune.space import why_unusable
from ivme.tune.turns import take_turns
from ivme.tune.variants import Variant

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

GENERATING = ("causal", "seq2seq")
SCREEN_ROUNDS = 5  # of turns with the leader; two for what is hopeless
PROBE_TEXTS = 4  # that a variant answers before all the others
HOPELESS = 3.0  # times as slow as the leader on these: it is left at that
SLOW = 1.5  # times as slow as the fastest: out of the race
COST_ROUNDS = 3
JUDGED_AT_A_TIME = 64  # texts between looks at whether the gate can still be passed
_REFERENCE_BATCHING = Batching(batch_size=8, order="sorted")


class _OutOfMemory(Exception):
    """Memory ran out in a step; the message is the library's."""


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
        """
        result: dict[str, Any] = self.journal.step("baseline", lambda: self._start(texts))
        self._use(result["max_length"], result["device"])
        return result

    def screen(self, variant: Variant, leader: Variant, texts: Sequence[str]) -> dict[str, Any]:
        """Return times of the variant in turns with the leader, or the failure.

        "batch_size": smaller than asked for where memory ran out otherwise; "fallbacks" tell.
        """
        name = f"screen {variant.label} beside {leader.label}"
        return self.journal.step(name, lambda: self._screen(variant, leader, texts))

    def judge(self, variant: Variant, count: int) -> dict[str, Any]:
        """Return the quality on the first `count` judged texts, or the failure."""
        return self.journal.step(
            f"judge {variant.label} on {count}", lambda: self._judge(variant, count)
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation."""
        return self.sessions.get(self.baseline).count_tokens(texts)

    def cost(self, variant: Variant, texts: Sequence[str]) -> BatchCost:
        """Return what batches of the texts' lengths cost the variant."""
        result = self.journal.step(
            f"cost of {variant.label}", lambda: asdict(self._cost(variant, texts))
        )
        return BatchCost(**result)

    def race(
        self, variants: Sequence[Variant], rounds: int, texts: Sequence[str], hopeless: float
    ) -> dict[str, Any]:
        """Return "samples_s" and "failures" by label; the first of the variants leads."""
        labels = ", ".join(one.label for one in variants)
        return self.journal.step(
            f"race of {rounds} rounds: {labels}",
            lambda: self._race(variants, rounds, texts, hopeless),
        )

    def compare(
        self, variant: Variant, other: Variant, texts: Sequence[str], budget_s: float
    ) -> Comparison:
        """Return the paired comparison of a variant with another, A/A control included."""
        runs = {one.label: self._run(one, texts) for one in (other, variant)}
        same_threads = variant.threads == other.threads
        with memory_guard():
            (comparison,) = compare(
                runs,
                baseline=other.label,
                plan=ComparePlan(budget_s=budget_s, warmup_calls=1, seed=self.seed),
                clock=self.clock,
                threads=dict.fromkeys(runs, variant.threads) if same_threads else None,
            )
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

    def _make_room(self, reason: str) -> str:
        """Cut texts or leave the accelerator; return what was done."""
        length, device = self.allow_truncation, self.model.device
        if length is not None and self.sessions.options.max_length != length:
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
        fallbacks: list[str] = []
        while True:
            try:
                return {
                    **self._time_beside(variant, leader, texts),
                    "batch_size": variant.batching.batch_size,
                    "fallbacks": fallbacks,
                }
            except Unusable as error:
                return {"failure": str(error), "is_refusal": True}
            except (_OutOfMemory, OutOfMemoryError) as error:
                size = variant.batching.batch_size
                if size == 1:
                    return {"failure": f"out of memory with single texts: {error}"}
                variant = with_batch_size(variant, size // 2)
                fallbacks.append(f"out of memory with batch {size}: batch {size // 2}")
            except UsageError:
                raise
            except Exception as error:  # libraries fail in their own ways; the search goes on
                return {"failure": why_unusable(variant.engine, error)}

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
        """Return the seconds to the first token and of each later one, a text or batch."""
        new_tokens = self.sessions.options.new_tokens
        if not self.is_generating or new_tokens < 2:
            return {}
        session = self.sessions.get(variant, 1)
        run = lambda: predict_all(session, texts, variant.batching)  # noqa: E731 - a plain call
        seconds = self._guarded(lambda: take_turns({"": run}, 3, self.clock)[""])
        calls = -(-len(texts) // variant.batching.batch_size)
        first_s, whole = median(seconds), median(whole_s)
        return {
            "first_token_s": first_s / calls,
            "next_token_s": max(0.0, whole - first_s) / calls / (new_tokens - 1),
        }

    def _judge(self, variant: Variant, count: int) -> dict[str, Any]:
        try:
            return self._guarded(lambda: self._judged(variant, count))
        except (Unusable, _OutOfMemory, OutOfMemoryError) as error:
            return {"failure": f"no answers to judge: {error}"}

    def _judged(self, variant: Variant, count: int) -> dict[str, Any]:
        labels = self.material.labels
        gate = Gate(
            kind=self.model.kind,
            reference=self._reference_answers(count),
            labels=None if labels is None else labels[:count],
            **self.gate_settings,
        )
        session, texts = self.sessions.get(variant), self.material.judged[:count]
        answers: list[Prediction] = []
        for at in range(0, count, JUDGED_AT_A_TIME):
            answers += self._answers(session, texts[at : at + JUDGED_AT_A_TIME], variant.batching)
            if gate.is_hopeless(answers):
                break
        return gate.judge(answers).as_facts()

    def _cost(self, variant: Variant, texts: Sequence[str]) -> BatchCost:
        session = self.sessions.get(variant)
        lengths = sorted(session.count_tokens(texts))
        word = self.model.tokenizer.mask_token if self.model.kind == "masked" else "the"
        quarters = (lengths[0], lengths[len(lengths) // 2], lengths[-1])
        cost: BatchCost = self._guarded(
            lambda: measure_cost(
                session,
                lengths=sorted(set(quarters)),
                rounds=COST_ROUNDS,
                word=word,
                clock=self.clock,
            )
        )
        return cost

    def _reference_answers(self, count: int) -> list[Prediction]:
        if len(self._reference) < count:
            session = self.sessions.get(self.baseline)
            texts = self.material.judged[:count]
            self._reference = self._answers(session, texts, _REFERENCE_BATCHING)
        return self._reference[:count]

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
        failures: dict[str, str] = {}
        for one in variants:
            try:
                runs[one.label] = self._run(one, texts)
                self._guarded(runs[one.label])
            except (Unusable, _OutOfMemory, OutOfMemoryError) as error:
                runs.pop(one.label, None)
                failures[one.label] = str(error)
        leader = next(iter(runs), None)
        samples_s = self._guarded(
            lambda: take_turns(
                runs, rounds, self.clock, seed=self.seed, leader=leader, hopeless_ratio=hopeless
            )
        )
        return {"samples_s": samples_s, "failures": failures}

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


def with_batch_size(variant: Variant, batch_size: int) -> Variant:
    """Return the variant with another batch size."""
    return replace(variant, batching=replace(variant.batching, batch_size=batch_size))
