"""The documented route: POST /predict {"text"}, as clients of the Flask application know it."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from ivme.serve.requests import TextRequest, invalid_request, read_form_or_json
from ivme.serve.responses import ERRORS, PredictAnswer
from ivme.serve.service import Service

_SCHEMA = TextRequest.model_json_schema()
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "application/x-www-form-urlencoded": {"schema": _SCHEMA},
        },
    }
}


Endpoint = Callable[[Request], Awaitable[Response]]


def predict_endpoint(service: Service, document: Callable[[Any], dict[str, Any]]) -> Endpoint:
    """Return what answers a request; document: turns the model's answer into that form."""

    async def predict(http: Request) -> Response:
        content_type = http.headers.get("content-type", "")
        content = read_form_or_json(await http.body(), content_type)
        try:
            request = TextRequest.model_validate(content)
        except ValidationError as error:
            raise invalid_request([dict(one) for one in error.errors()]) from None
        [answer] = await service.answer([request.text])
        return JSONResponse(document(answer))

    return predict


def predict_route(predict: Endpoint) -> APIRouter:
    """Return the route to the endpoint, as the OpenAPI document tells of it."""
    router = APIRouter(responses=ERRORS, tags=["texts"])
    router.post(
        "/predict",
        response_model=PredictAnswer,
        summary="What each member says of a text, and all together",
        openapi_extra=_BODY,
    )(predict)
    return router
