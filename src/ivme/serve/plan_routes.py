"""Routes of plans: classify, embed, generate and fill, one text or several."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ivme.engines.protocol import Prediction
from ivme.serve.bounds import checked_texts
from ivme.serve.events import Event, event_response
from ivme.serve.plan_model import NAME, PlanModel
from ivme.serve.requests import GenerateRequest, TextsRequest
from ivme.serve.responses import (
    ERRORS,
    Classification,
    ClassifyAnswer,
    EmbedAnswer,
    Embedding,
    GenerateAnswer,
    Generated,
    respond,
)
from ivme.serve.service import Service

ROUTES = {  # kind of model -> the route that asks it
    "classifier": "/v1/classify",
    "embedding": "/v1/embed",
    "causal": "/v1/generate",
    "seq2seq": "/v1/generate",
    "masked": "/v1/fill",
}


def plan_routes(service: Service, model: PlanModel) -> APIRouter:
    """Return the route of the plan's kind."""
    router = APIRouter(responses=ERRORS, tags=["texts"])
    add = {
        "/v1/classify": _add_classify,
        "/v1/embed": _add_embed,
        "/v1/generate": _add_generate,
        "/v1/fill": _add_fill,
    }[ROUTES[model.kind]]
    add(router, service, model)
    return router


def _add_classify(router: APIRouter, service: Service, model: PlanModel) -> None:
    @router.post(
        "/v1/classify", response_model=Classification | ClassifyAnswer, summary="Label texts"
    )
    async def classify(request: TextsRequest) -> Response:
        answers = await service.answer(request.all_texts)
        labels = model.labels
        return respond(request, [classification(one, labels) for one in answers])


def _add_embed(router: APIRouter, service: Service, model: PlanModel) -> None:
    @router.post(
        "/v1/embed", response_model=Embedding | EmbedAnswer, summary="Turn texts into vectors"
    )
    async def embed(request: TextsRequest) -> Response:
        answers = await service.answer(request.all_texts)
        return respond(request, [{"vector": one.vector.tolist()} for one in answers])


def _add_fill(router: APIRouter, service: Service, model: PlanModel) -> None:
    @router.post(
        "/v1/fill",
        response_model=Generated | GenerateAnswer,
        summary="Fill the first mask of texts",
    )
    async def fill(request: TextsRequest) -> Response:
        return respond(request, _texts(await service.answer(request.all_texts)))


def _add_generate(router: APIRouter, service: Service, model: PlanModel) -> None:
    @router.post(
        "/v1/generate",
        response_model=Generated | GenerateAnswer,
        summary="Write on from texts",
        description="With stream, the answer is server-sent events: `piece` with a part of the "
        "text, as often as one comes, then `done` with all of it, or `error`.",
    )
    async def generate(request: GenerateRequest, http: Request) -> Response:
        if not request.stream:
            return respond(request, _texts(await service.answer(request.all_texts)))
        [text] = checked_texts(request.all_texts, service.config)
        await service.be_ready()
        service.batcher.refuse_if_full()
        events = _stream_events(service, model, text)
        return event_response(events, http.scope, service.config.timeout_s)


async def _stream_events(service: Service, model: PlanModel, text: str) -> AsyncGenerator[Event]:
    parts = service.stream(text, lambda tell, is_wanted: model.stream(text, tell, is_wanted))
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Prediction):
                yield "done", {"text": part.text}
            else:
                yield "piece", {"text": part}


def classification(answer: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """Return a classifier's answer as JSON."""
    assert answer.probabilities is not None
    number = int(answer.probabilities.argmax())
    probabilities = answer.probabilities.tolist()
    return {
        "label": answer.label,
        "prediction": number,
        "confidence": probabilities[number],
        "probabilities": dict(zip(labels, probabilities, strict=True)),
    }


def documented(answer: Prediction) -> dict[str, Any]:
    """Return a classifier's answer in the documented form, as an ensemble of one."""
    assert answer.probabilities is not None
    number = int(answer.probabilities.argmax())
    said = {
        "prediction": number,
        "confidence": float(answer.probabilities[number]),
        "label": answer.label,
    }
    return {
        "individual_results": {NAME: said},
        "ensemble": {**said, "vote_count": 1, "total_models": 1},
    }


def _texts(answers: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{"text": one.text} for one in answers]
