"""Predictors: a plan's model, ready to be called with texts from any thread."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ivme.engines.batching import Batching, predict_all
from ivme.engines.buckets import few_lengths
from ivme.engines.protocol import ArtefactEngine, PaddingSession, Prediction
from ivme.engines.registry import get_engine
from ivme.engines.streams import SessionPool, prepare_streams
from ivme.engines.warming import meet_lengths, warm_up
from ivme.errors import PlanError
from ivme.measure.clock import SystemClock
from ivme.models.interface import ModelInterface, TextModel
from ivme.tune.plan import ARTEFACT_FOLDER, Plan, read_plan
from ivme.tune.plan_checks import check_files, notes_on_place

if TYPE_CHECKING:
    from types import TracebackType

FEW_TOKENS = 512  # of a batch of one of few shapes; a call costs as much as 20


class Predictor:
    """A plan's model, loaded: call it with a text or a list of texts. Safe to share by threads.

    Attributes: `plan`; `precision`, which the engine says that it computes in; `notes`, which say
    what the user of its answers and figures should know; `labels`, of a classifier; `max_length`,
    tokens that texts are cut to, None without a limit.
    """

    def __init__(
        self, plan: Plan, session: SessionPool, model: TextModel, notes: Sequence[str]
    ) -> None:
        self.plan = plan
        self.max_length = plan.max_length or model.max_length
        self.session = session
        self.labels = model.labels
        self.precision = session.precision
        self.notes = (*notes, *session.notes)
        self._few_lengths: tuple[int, ...] = ()  # that batches are padded to; none: as they come

    @overload
    def __call__(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is a Sequence

    @overload
    def __call__(self, texts: Sequence[str]) -> list[Prediction]: ...

    def __call__(self, texts: str | Sequence[str]) -> Prediction | list[Prediction]:
        """Return the prediction for a text, or a list of them for a list, in its order.

        Raises:
            WorkloadError: the model cannot read a text.
        """
        if isinstance(texts, str):
            return self.predict([texts])[0]
        return self.predict(texts)

    def predict(self, texts: Sequence[str], batching: Batching | None = None) -> list[Prediction]:
        """Return one prediction a text, in order; batching: the plan's own unless given."""
        chosen = batching or self.plan.variant.batching
        return predict_all(self.session, texts, self._of_few_shapes(chosen))

    def batched(
        self, *, batch_size: int | None = None, max_batch_tokens: int | None = None
    ) -> Callable[[Sequence[str]], list[Prediction]]:
        """Return the call that predicts many texts, with other batch limits where they are given.

        Then texts of like length share a batch, if the plan itself takes them as they come.
        """
        given = {"batch_size": batch_size, "max_batch_tokens": max_batch_tokens}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value}
        batching = self.plan.variant.batching
        if changes and batching.order == "given":
            changes["order"] = "packed"
        batching = replace(batching, **changes)
        return lambda texts: self.predict(texts, batching)

    def keep_to_few_shapes(self, within_s: float) -> bool:
        """Pad and cut texts into batches of few shapes, and meet those now; return whether.

        For a process that answers new texts all day on an engine that prepares itself for each
        number of tokens (OpenVINO on BERT-base: 17 ms and 8 MB): it is soon as fast and as large as
        it will ever be, and pads 4% for it. Other engines, and plans with buckets of their own, go
        on as they are. within_s: for meeting them, the longest first.
        """
        sessions = [one for one in self.session.sessions if isinstance(one, PaddingSession)]
        if not sessions or self.plan.variant.batching.padding != "dynamic":
            return False
        self._few_lengths = few_lengths(min(self.max_length or FEW_TOKENS, FEW_TOKENS))
        word = sessions[0].model.tokenizer.mask_token if self.plan.kind == "masked" else "the"
        for session in sessions:
            session.pad_to(self._few_lengths)
            seconds = within_s / len(sessions)
            meet_lengths(
                session, self._few_lengths, within_s=seconds, word=word, clock=SystemClock()
            )
        return True

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens that each text has after truncation."""
        return self.session.count_tokens(texts)

    def _of_few_shapes(self, batching: Batching) -> Batching:
        if not self._few_lengths:
            return batching
        return replace(
            batching,
            order="packed",
            padding="bucketed",
            buckets=self._few_lengths,
            doubling=True,
            max_batch_tokens=min(batching.max_batch_tokens or FEW_TOKENS, FEW_TOKENS),
        )

    def close(self) -> None:
        """Free the model."""
        self.session.close()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()


def open_plan(
    folder: Path, *, verify: bool, threads: int | None = None, max_length: int | None = None
) -> Predictor:
    """Return the predictor of a plan's folder; see ivme.tune.plan.load_plan."""
    plan = _on_threads(read_plan(folder), threads)
    notes = [*check_files(folder, verify=verify), *notes_on_place(plan)]
    try:
        plan, sessions, model = _open_sessions(folder, plan, max_length)
    except ImportError as error:
        raise PlanError(
            f"{folder} runs on engine={plan.variant.engine!r}, which needs {error.name}, and that "
            f"is not installed here; install it: pip install {_package(plan, error)}"
        ) from error
    if sessions.precision != plan.variant.precision:
        notes.append(
            f"computes in {sessions.precision}, not in {plan.variant.precision} as planned"
        )
    if plan.variant.batching.buckets:
        word = model.tokenizer.mask_token if plan.kind == "masked" else "the"
        for session in sessions.sessions:
            warm_up(session, plan.variant.batching, word)
    return Predictor(plan, sessions, model, notes)


def _on_threads(plan: Plan, threads: int | None) -> Plan:
    """Return the plan on so many threads, its streams together."""
    if threads is None:
        return plan
    variant = plan.variant
    streams = variant.batching.streams if variant.batching.streams <= threads else 1
    batching = replace(variant.batching, streams=streams)
    return replace(plan, variant=replace(variant, threads=threads // streams, batching=batching))


def _for_texts(plan: Plan, max_length: int | None, model: TextModel) -> Plan:
    """Return the plan for texts of at most so many tokens, where plan and model allow more."""
    if max_length is None:
        return plan
    limits = [one for one in (max_length, plan.max_length, model.max_length) if one is not None]
    return replace(plan, max_length=min(limits))


def _package(plan: Plan, error: ImportError) -> str:
    """Return what to install: the extra that brings what the engine needs, or the library."""
    from ivme.tune.space import EXTRAS

    library = error.name or plan.variant.engine
    extra = EXTRAS.get(plan.variant.engine) or EXTRAS.get(library)
    return f"'ivme[{extra}]'" if extra else library


def _open_sessions(
    folder: Path, plan: Plan, max_length: int | None
) -> tuple[Plan, SessionPool, TextModel]:
    """Return the plan as it runs, its sessions, one for each of its streams, and their model."""
    engine, artefact = get_engine(plan.variant.engine), folder / ARTEFACT_FOLDER
    streams = plan.variant.batching.streams
    if isinstance(engine, ArtefactEngine):
        interface = ModelInterface.load(folder, plan.tokenizer)
        plan = _for_texts(plan, max_length, interface)
        sessions = [engine.open(artefact, interface, plan.options)]
        while len(sessions) < streams:
            if plan.tokenizer != "file":  # Transformers' own must not be shared by threads
                interface = ModelInterface.load(folder, plan.tokenizer)
            sessions.append(engine.open(artefact, interface, plan.options))
        return plan, SessionPool(sessions), interface
    from ivme.models.loading import load_model

    model = load_model(
        str(artefact),
        device=plan.device,
        dtype=plan.dtype,
        attention=plan.attention,
        kind=plan.kind,
    )
    model = replace(model, reference=plan.reference)
    plan = _for_texts(plan, max_length, model)
    return plan, prepare_streams(engine, model, plan.options, streams), model
