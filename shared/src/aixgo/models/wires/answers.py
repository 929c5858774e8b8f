"""What an answer must be before it leaves an adapter."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo.errors import BadModelAnswer, BadModelRequest, ContentRefused, ModelUnavailable
from aixgo.models.port import ChatRequest, ChatResponse, Choice, EmbedRequest
from aixgo.models.providers import split_model
from aixgo.models.wires.schemas import missing_in

_OWN_FIELDS = frozenset(
    {
        "model", "messages", "input", "tools", "tool_choice", "temperature", "max_tokens",
        "max_completion_tokens", "max_output_tokens", "top_p", "stop", "seed", "response_format",
        "stream", "stream_options", "n", "parallel_tool_calls", "timeout", "max_retries", "api_key",
        "api_base", "base_url", "extra_headers",
    }
)  # fmt: skip


def extra_of(request: ChatRequest) -> dict[str, Any]:
    """Return the further fields of a request.

    Raises:
        BadModelRequest: one of them is a field of the port, or one that adapters own.
    """
    if taken := sorted(_OWN_FIELDS & request.extra.keys()):
        raise BadModelRequest(
            f"`extra` of a request to {request.model!r} sets {', '.join(taken)}; "
            "use the request's own fields for these (one answer per request, keys only in the "
            "gateway's settings)"
        )
    return request.extra


def checked(request: ChatRequest, response: ChatResponse) -> ChatResponse:
    """Return the response when it keeps the port's promises.

    Raises:
        BadModelAnswer: it has no choice, or is not the JSON that the request asked for.
        ContentRefused: a filter took the answer that the schema asked for.
        ModelUnavailable: the server ended it with an error, before there was anything of it.
    """
    provider, _ = split_model(request.model)
    if not response.choices:
        raise BadModelAnswer(
            f"{request.model} answered without a choice; ask again", provider=provider
        )
    if all(_is_nothing(choice) for choice in response.choices):
        raise ModelUnavailable(
            f"{request.model} ended its answer with an error, before there was a text or a tool "
            "call; ask again, or look at the server's log",
            provider=provider,
        )
    schema = request.response
    if schema is None or not schema.checked:
        return response
    for choice in response.choices:
        if not choice.message.tool_calls:
            _check_json(request, choice, schema.schema, provider)
    return response


def _is_nothing(choice: Choice) -> bool:
    message = choice.message
    return choice.finish_reason == "error" and not message.text and not message.tool_calls


def _check_json(
    request: ChatRequest, choice: Choice, schema: dict[str, Any], provider: str
) -> None:
    text = choice.message.text
    if choice.finish_reason == "content_filter":
        raise ContentRefused(
            f"{request.model}: a content filter stopped the answer; change the prompt",
            provider=provider,
        )
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        cut = choice.finish_reason == "length"
        fix = f"raise max_tokens ({request.max_tokens}), the answer was cut" if cut else "ask again"
        raise BadModelAnswer(
            f"{request.model} was asked for JSON and its answer is not JSON: {error}, in "
            f"{len(text):,} characters beginning {text[:60]!r}; {fix}",
            provider=provider,
        ) from error
    if missing := missing_in(value, schema):
        raise BadModelAnswer(
            f"{request.model}'s answer lacks {', '.join(missing)}, which the schema requires; "
            "ask again, or use a model that supports JSON schemas",
            provider=provider,
        )


def checked_vectors(
    request: EmbedRequest, vectors: list[list[float]]
) -> tuple[tuple[float, ...], ...]:
    """Return one vector for each text.

    Raises:
        BadModelAnswer: there are more or fewer, or they differ in length.
    """
    provider, _ = split_model(request.model)
    if len(vectors) != len(request.input):
        raise BadModelAnswer(
            f"{request.model} returned {len(vectors)} vectors for {len(request.input)} texts; ask "
            "again, or send fewer texts at once",
            provider=provider,
        )
    if len({len(vector) for vector in vectors}) > 1:
        raise BadModelAnswer(
            f"{request.model} returned vectors of different lengths; use an embedding model",
            provider=provider,
        )
    return tuple(map(tuple, vectors))
