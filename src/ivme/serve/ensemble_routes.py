"""Routes of ensembles: the documented /predict, labels alone, and judging as it happens."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ivme.ensemble.judging import choice_of
from ivme.ensemble.running import Failure, Scores
from ivme.ensemble.words import count_words
from ivme.serve.bounds import checked_texts
from ivme.serve.ensemble_model import EnsembleAnswer, EnsembleModel
from ivme.serve.events import Event, event_response
from ivme.serve.requests import AnalyzeRequest, TextsRequest
from ivme.serve.responses import ERRORS, Classification, ClassifyAnswer, respond
from ivme.serve.sentences import split_sentences, utf16_offsets, windows
from ivme.serve.service import Service

ANALYZE = """Server-sent events, each with JSON: `start` (members, words), `member` (name,
prediction, label, confidence, duration_ms) as each answers, `member_down` (name, reason),
`ensemble` (prediction, label, confidence, vote_count, total_models, probability, whether that is
calibrated or the members' mean, too_short, least_words, duration_ms, cached), `sentences` where
they are asked for (start and end in UTF-16 code units, probability), and `done` (duration_ms) or
`error`."""


def ensemble_routes(service: Service, model: EnsembleModel) -> APIRouter:
    """Return the routes that judge texts."""
    router = APIRouter(responses=ERRORS, tags=["texts"])

    @router.post(
        "/v1/classify", response_model=Classification | ClassifyAnswer, summary="Label texts"
    )
    async def classify(request: TextsRequest) -> Response:
        answers = await service.answer(request.all_texts)
        return respond(request, [_classification(one, model) for one in answers])

    @router.post(
        "/v1/analyze",
        summary="Judge a text as it happens",
        description=ANALYZE,
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def analyze(request: AnalyzeRequest, http: Request) -> Response:
        [text] = checked_texts([request.text], service.config)
        await service.be_ready()
        service.batcher.refuse_if_full()
        events = _events(service, model, text, with_sentences=request.sentences)
        return event_response(events, http.scope, service.config.timeout_s)

    return router


def documented(answer: EnsembleAnswer) -> dict[str, Any]:
    """Return an answer in the documented form, and nothing beside it."""
    return {name: answer.content[name] for name in ("individual_results", "ensemble")}


async def _events(
    service: Service, model: EnsembleModel, text: str, *, with_sentences: bool
) -> AsyncGenerator[Event]:
    start_s = time.perf_counter()
    yield "start", {"members": list(model.folder.member_names), "words": count_words(text)}
    kept = service.recall(text)
    if kept is None or with_sentences:
        run = _running(model, text, kept, with_sentences=with_sentences)
        async with aclosing(service.stream(text, run)) as parts:
            async for part in parts:
                if isinstance(part, EnsembleAnswer):
                    service.remember(text, part)
                else:
                    yield part
    else:
        for event in _kept_events(model, kept):
            yield event
    yield "done", {"duration_ms": _since_ms(start_s)}


def _running(
    model: EnsembleModel, text: str, kept: EnsembleAnswer | None, *, with_sentences: bool
) -> Callable[[Callable[[Event], None], Callable[[], bool]], EnsembleAnswer]:
    """Return what judges the text in a thread: it tells events, and returns the answer."""

    def run(tell: Callable[[Event], None], is_wanted: Callable[[], bool]) -> EnsembleAnswer:
        if kept is None:
            answer = _judge(model, text, tell)
        else:
            answer = kept
            for event in _kept_events(model, kept):
                tell(event)
        if with_sentences and is_wanted():
            sentences = _sentences(model, text)
            if sentences is not None:
                tell(sentences)
        return answer

    return run


def _judge(model: EnsembleModel, text: str, tell: Callable[[Event], None]) -> EnsembleAnswer:
    start_s = time.perf_counter()
    answer = None
    for outcome in model.outcomes(text):
        if isinstance(outcome, Scores):
            tell(("member", _member(outcome, model)))
        elif isinstance(outcome, Failure):
            tell(("member_down", {"name": outcome.name, "reason": outcome.reason}))
        else:
            answer = model.as_answer(outcome)
    assert answer is not None  # without one `outcomes` raises
    tell(("ensemble", _verdict(model, answer, _since_ms(start_s), is_cached=False)))
    return answer


def _member(scores: Scores, model: EnsembleModel) -> dict[str, Any]:
    said = choice_of(scores, 0).to_dict(model.label_set)
    return {"name": scores.name, **said, "duration_ms": round(1e3 * scores.seconds, 3)}


def _kept_events(model: EnsembleModel, answer: EnsembleAnswer) -> list[Event]:
    members = answer.content["individual_results"]
    events: list[Event] = [
        ("member", {"name": name, **said, "duration_ms": 0.0}) for name, said in members.items()
    ]
    return [*events, ("ensemble", _verdict(model, answer, 0.0, is_cached=True))]


def _verdict(
    model: EnsembleModel, answer: EnsembleAnswer, duration_ms: float, *, is_cached: bool
) -> Mapping[str, Any]:
    details = answer.content["details"]
    kept = {name: details[name] for name in ("probability", "too_short", "least_words")}
    return {
        **answer.content["ensemble"],
        **kept,
        "calibrated": model.folder.stacking is not None,
        "duration_ms": duration_ms,
        "cached": is_cached,
    }


def _sentences(model: EnsembleModel, text: str) -> Event | None:
    """Return the event with each sentence's probabilities; None if no member could tell quickly."""
    spans = split_sentences(text)
    tables = model.score_quickly(windows(text, spans)) if spans else []
    if tables is None:
        return None
    labels = model.folder.labels
    sentences = [
        {"start": start, "end": end, "probability": dict(zip(labels, table, strict=True))}
        for (start, end), table in zip(utf16_offsets(text, spans), tables, strict=True)
    ]
    return "sentences", {"sentences": sentences}


def _classification(answer: EnsembleAnswer, model: EnsembleModel) -> dict[str, Any]:
    verdict, names = answer.content["ensemble"], model.folder.label_names
    probability = answer.content["details"]["probability"]
    return {
        "label": verdict["label"],
        "prediction": verdict["prediction"],
        "confidence": verdict["confidence"],
        "probabilities": {names.get(label, label): one for label, one in probability.items()},
    }


def _since_ms(start_s: float) -> float:
    return round(1e3 * (time.perf_counter() - start_s), 3)
