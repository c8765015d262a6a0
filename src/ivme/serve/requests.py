"""What clients may send, and the words in which they are told what is wrong with it."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ivme.serve.problems import Problem

Text = Annotated[str, Field(description="The text. Lone surrogates are read as U+FFFD.")]


class TextRequest(BaseModel):
    """One text. Further fields are ignored, as they always were."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"text": "The meeting has been moved."}]}
    )

    text: Text


def _one_of_both(schema: dict[str, Any]) -> None:
    """Say in a schema that either field is given; pydantic would allow null."""
    for name in ("text", "texts"):
        schema["properties"][name].pop("default", None)
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["texts"]}]
    schema["examples"] = [{"text": "A single text."}, {"texts": ["One.", "Another one."]}]


class TextsRequest(BaseModel):
    """One text, or several that count each against the limits."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=_one_of_both)

    text: Text = None  # type: ignore[assignment]  # left out, never null
    texts: Annotated[list[str], Field(min_length=1, description="Texts.")] = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self

    @property
    def all_texts(self) -> list[str]:
        """The texts, in order."""
        return [self.text] if self.texts is None else self.texts


class GenerateRequest(TextsRequest):
    """One text or several to write on from; one may be answered piece by piece."""

    stream: Annotated[bool, Field(description="Answer with server-sent events; one text only.")] = (
        False
    )

    @model_validator(mode="after")
    def _streams_one(self) -> Self:
        if self.stream and self.texts is not None:
            raise ValueError("stream takes one text; give text, not texts")
        return self


class AnalyzeRequest(BaseModel):
    """One text to be looked at closely."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"text": "The meeting was moved.", "sentences": True}]},
    )

    text: Text
    sentences: Annotated[bool, Field(description="Also judge sentence by sentence.")] = False


def read_form_or_json(body: bytes, content_type: str) -> Any:
    """Return a body's content: JSON, unless it says that it is a form and looks like one.

    `curl -d` says of everything that it is a form; a form with `text` does not begin with a brace.

    Raises:
        Problem: neither.
    """
    says_form = content_type.startswith("application/x-www-form-urlencoded")
    if says_form and not body.lstrip().startswith(b"{"):
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            400, "invalid_json", f'the body is no JSON ({error}); send {{"text": "..."}}'
        ) from None


def invalid_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Return the problem for what pydantic found: where, and what; never the text itself."""
    if any(error["type"] == "json_invalid" for error in errors):
        reason = errors[0].get("ctx", {}).get("error", "not JSON")
        return Problem(400, "invalid_json", f"the body is no JSON ({reason})")
    found = [
        {"where": _place(error["loc"]), "problem": error["msg"].removeprefix("Value error, ")}
        for error in errors[:10]
    ]
    sentence = "; ".join(f"{one['where']}: {one['problem']}" for one in found)
    return Problem(422, "invalid_request", sentence, problems=found)


def _place(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location if part != "body"]
    return ".".join(parts) or "body"
