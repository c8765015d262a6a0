"""What clients get back, as OpenAPI shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from ivme.serve.requests import TextsRequest

OVERLOADED = "The queue is full; Retry-After says when to try again."


class ErrorBody(BaseModel):
    """Every error: a sentence for a person, a code for programs, and figures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "a text has 120,000 characters; this server reads up to 100,000: "
                    "shorten it",
                    "code": "text_too_long",
                    "detail": {"characters": 120000, "max_characters": 100000},
                }
            ]
        }
    )

    error: str
    code: str
    detail: dict[str, Any]


class MemberResult(BaseModel):
    """What one member says."""

    prediction: int | str
    confidence: float
    label: str


class Verdict(BaseModel):
    """What the members say together."""

    prediction: int | str
    label: str
    confidence: float
    vote_count: int
    total_models: int


class PredictAnswer(BaseModel):
    """The documented answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "individual_results": {
                        "BERT": {"prediction": 1, "confidence": 0.98, "label": "Human"},
                        "DRF": {"prediction": 1, "confidence": 0.71, "label": "Human"},
                    },
                    "ensemble": {
                        "prediction": 1,
                        "label": "Human",
                        "confidence": 0.845,
                        "vote_count": 2,
                        "total_models": 2,
                    },
                }
            ]
        }
    )

    individual_results: dict[str, MemberResult]
    ensemble: Verdict


class Classification(BaseModel):
    """The label of one text, its number and the probability of each."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "positive",
                    "prediction": 1,
                    "confidence": 0.98,
                    "probabilities": {"negative": 0.02, "positive": 0.98},
                }
            ]
        }
    )

    label: str
    prediction: int | str
    confidence: float
    probabilities: dict[str, float]


class ClassifyAnswer(BaseModel):
    """For `texts`: one result each, in order."""

    results: list[Classification]


class Embedding(BaseModel):
    """The vector of one text."""

    vector: list[float]


class EmbedAnswer(BaseModel):
    """For `texts`: one result each, in order."""

    results: list[Embedding]


class Generated(BaseModel):
    """What the model wrote on from one text, or filled in."""

    text: str


class GenerateAnswer(BaseModel):
    """For `texts`: one result each, in order."""

    results: list[Generated]


class LabelInfo(BaseModel):
    """A label as in the data, and what it is called."""

    label: str
    name: str


class Info(BaseModel):
    """What is served, and within which bounds."""

    model_config = ConfigDict(extra="allow")

    kind: str
    labels: list[LabelInfo]
    members: list[str]
    least_words: int
    max_characters: int
    max_texts: int
    version: str
    auth_required: bool


class Health(BaseModel):
    """Whether the process is alive; members that are down are named."""

    status: str
    members_down: dict[str, str]


class Readiness(BaseModel):
    """Whether texts can be answered."""

    ready: bool


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The body is no JSON."},
    401: {"model": ErrorBody, "description": "No API key, or a wrong one."},
    408: {"model": ErrorBody, "description": "The body did not arrive in time."},
    413: {
        "model": ErrorBody,
        "description": "A text, the body or the number of texts is too large.",
    },
    422: {"model": ErrorBody, "description": "The body has other fields or types than expected."},
    429: {"model": ErrorBody, "description": OVERLOADED},
    503: {"model": ErrorBody, "description": "Starting, stopping, or no model is up."},
    504: {"model": ErrorBody, "description": "No answer in time."},
}


def respond(request: TextsRequest, results: list[dict[str, Any]]) -> Response:
    """Return the only result for `text`, and a list for `texts`."""
    return JSONResponse(results[0] if request.texts is None else {"results": results})
