"""The OpenAI Responses format, for models that take tools only there.

It is stateless here: the whole conversation goes with every request, and `store` is false, so that
the provider keeps no more than chat completions keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from aixgo.envelope import Usage
from aixgo.errors import ModelError
from aixgo.models.messages import ChatMessage, Content, TextPart
from aixgo.models.port import ChatRequest, ChatResponse
from aixgo.models.providers import Quirk, split_model
from aixgo.models.wires.answers import Assembly, extra_of, usage_of
from aixgo.models.wires.chat import error_in, function, read, sampling, text_only, tool_choice
from aixgo.models.wires.classify import from_status


def responses_body(request: ChatRequest, quirk: Quirk, *, stream: bool) -> dict[str, Any]:
    """Return the body of a request to `/responses`; `stop` and `seed` do not exist there."""
    _, model = split_model(request.model)
    body: dict[str, Any] = {"model": model, "input": list(_items(request.messages)), "store": False}
    instructions = [text_only(m) for m in request.messages if m.role == "system"]
    if instructions:
        body["instructions"] = "\n\n".join(instructions)
    body |= sampling(request, quirk)
    body.pop("stop", None)
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    if request.tools:
        body["tools"] = [
            {"type": "function", "strict": None, **function(tool)} for tool in request.tools
        ]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response is not None:
        body["text"] = {
            "format": {
                "type": "json_schema",
                "name": request.response.name,
                "strict": request.response.strict,
                "schema": request.response.schema,
            }
        }
    if stream:
        body["stream"] = True
    return body | extra_of(request)


def _items(messages: Iterable[ChatMessage]) -> Iterable[dict[str, Any]]:
    for message in messages:
        match message.role:
            case "system":
                continue
            case "tool":
                yield {
                    "type": "function_call_output",
                    "call_id": message.tool_call_id,
                    "output": _parts(message.content, "input_text"),
                }
            case role:
                if message.content:
                    if role != "user":
                        text_only(message)
                    kind = "output_text" if role == "assistant" else "input_text"
                    yield {
                        "type": "message",
                        "role": role,
                        "content": _parts(message.content, kind),
                    }
                for call in message.tool_calls:
                    yield {
                        "type": "function_call",
                        "call_id": call.id,
                        "name": call.name,
                        "arguments": call.arguments,
                    }


def _parts(content: Content, text_kind: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": text_kind, "text": content}]
    return [
        {"type": text_kind, "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "input_image", "image_url": part.address}
        for part in content
    ]


def _tool_choice(choice: str) -> str | dict[str, Any]:
    named = tool_choice(choice)
    return named if isinstance(named, str) else {"type": "function", "name": choice}


# -- answers -------------------------------------------------------------------------------------


class _Content(msgspec.Struct):
    type: str = ""
    text: str = ""
    refusal: str = ""


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Content] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: _Details | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str = ""
    model: str = ""
    status: str = "completed"
    output: list[_Item] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()
    code: str | None = None
    message: str | None = None


_response = msgspec.json.Decoder(_Response)
_event = msgspec.json.Decoder(_Event)


def decode_responses(request: ChatRequest, body: bytes) -> ChatResponse:
    """Return the answer of `/responses`.

    Raises:
        BadModelAnswer, ContentRefused: as for chat completions.
        ModelError: the answer reports a failure.
    """
    return _answer(request, read(_response, request, body))


def _answer(request: ChatRequest, answer: _Response) -> ChatResponse:
    if error := error_in(request, answer.error):
        raise error
    assembly = Assembly(request)
    assembly.named(answer.id, answer.model)
    assembly.finish = _finish(answer)
    assembly.usage = _usage(answer.usage)
    for position, item in enumerate(answer.output):
        if item.type == "function_call":
            assembly.tool_call(
                position, call_id=item.call_id, name=item.name, piece=item.arguments or ""
            )
        for content in item.content or () if item.type == "message" else ():
            assembly.text(content.text)
            if content.refusal:
                raise _failed(request, 400, f"content policy: {content.refusal}")
    return assembly.response()


def _finish(answer: _Response) -> str:
    reason = answer.incomplete_details.reason if answer.incomplete_details else None
    if reason == "max_output_tokens":
        return "length"
    return reason or "stop"


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return usage_of(0, 0)
    details = usage.input_tokens_details
    return usage_of(
        usage.input_tokens,
        usage.output_tokens,
        cached=(details.cached_tokens or 0) if details else 0,
        total=usage.total_tokens,
    )


class ResponsesStream:
    """Takes the events of a streamed answer, one by one; the last one carries all of it."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._answer: _Response | None = None

    def feed(self, event: bytes) -> str:
        """Return the text that an event adds.

        Raises:
            BadModelAnswer: it cannot be read.
            ModelError: it is an error in the middle of the stream.
        """
        found = read(_event, self._request, event)
        match found.type:
            case "response.output_text.delta":
                return found.delta or ""
            case "response.completed" | "response.incomplete" | "response.failed":
                self._answer = found.response or _Response()
            case "error":
                raise error_in(self._request, found.error) or _failed(
                    self._request, 500, f"{found.message or 'no reason given'} ({found.code})"
                )
        return ""

    @property
    def finished(self) -> bool:
        """Whether the whole answer has come."""
        return self._answer is not None

    def response(self) -> ChatResponse:
        """Return the whole answer; errors as `decode_responses`."""
        return _answer(self._request, self._answer or _Response())


def _failed(request: ChatRequest, status: int, text: str) -> ModelError:
    provider, model = split_model(request.model)
    return from_status(status, text, provider=provider, model=model)
