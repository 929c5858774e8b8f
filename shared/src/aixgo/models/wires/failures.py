"""Errors that come where an answer was promised: status 200, or the middle of a stream."""

from __future__ import annotations

from json import dumps
from typing import Any

from aixgo.errors import ContentRefused, ModelError
from aixgo.models.port import ChatRequest, EmbedRequest
from aixgo.models.providers import split_model
from aixgo.models.wires.classify import UNKNOWN_STATUS, from_status, status_of
from aixgo.models.wires.reading import string


def failure(request: ChatRequest | EmbedRequest, error: Any) -> ModelError:
    """Return the error that a server describes, in whatever shape."""
    provider, model = split_model(request.model)
    body = error if isinstance(error, str) else dumps({"error": error})
    return from_status(status_of(error), body, provider=provider, model=model)


def failure_in(
    request: ChatRequest | EmbedRequest, answer: dict[str, Any], *, event: bool = False
) -> ModelError | None:
    """Return the error in an answer, or None.

    Either its `error`, or all of it where it says of itself that it is one and has no choices.

    Args:
        event: it is one of a stream, where a `message` alone may be a sign of life.
    """
    if error := answer.get("error"):
        return failure(request, error)
    if answer.get("choices") or answer.get("data") or answer.get("output"):
        return None
    is_error = "error" in (answer.get("object"), answer.get("type"))
    # FastAPI's `detail`, and the flat objects of gateways
    described = any(string(answer.get(name)) for name in ("detail", "message", "msg"))
    if event:
        described = described and "code" in answer and status_of(answer) != UNKNOWN_STATUS
    if is_error or isinstance(answer.get("detail"), list) or described:
        return failure(request, answer)
    return None


def refused(request: ChatRequest, refusal: str) -> ContentRefused:
    """Return the error for a model that refuses in its own words."""
    return ContentRefused(
        f"{request.model} refuses: {refusal[:200]}; change the prompt",
        provider=split_model(request.model)[0],
    )
