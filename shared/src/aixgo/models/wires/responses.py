"""The OpenAI Responses format, for models that take tools only there.

It is stateless here: the whole conversation goes with every request, and `store` is false, so that
the provider keeps no more than chat completions keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aixgo.models.messages import ChatMessage, Content, TextPart
from aixgo.models.port import ChatRequest, ChatResponse, ResponseSchema
from aixgo.models.providers import Dialect, Feature, split_model
from aixgo.models.wires.answers import extra_of
from aixgo.models.wires.assembly import Assembly, arguments_in
from aixgo.models.wires.chat_request import function, sampling, text_only, told, tool_choice
from aixgo.models.wires.failures import failure, failure_in, refused
from aixgo.models.wires.reading import (
    Unreadable,
    loads,
    record,
    records,
    string,
    text_in,
    unreadable,
)
from aixgo.models.wires.sse import Event

LACKS: frozenset[Feature] = frozenset({"stop", "seed"})
"""What this API has no field for."""


def responses_body(request: ChatRequest, dialect: Dialect, *, stream: bool) -> dict[str, Any]:
    """Return the body of a request to `/responses`; it has no `stop` and no `seed` (`LACKS`)."""
    _, model = split_model(request.model)
    messages: Sequence[ChatMessage] = request.messages
    if request.response is not None and dialect.schemas != "json_schema":
        messages = told(messages, request.response)
    body: dict[str, Any] = {"model": model, "input": list(_items(messages)), "store": False}
    instructions = [text_only(m) for m in messages if m.role == "system"]
    if instructions:
        body["instructions"] = "\n\n".join(instructions)
    body |= sampling(request)
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    if request.tools:
        body["tools"] = [
            {"type": "function", "strict": None, **function(tool)} for tool in request.tools
        ]
        if request.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools
    if request.response is not None and dialect.schemas in {"json_schema", "json_object"}:
        body["text"] = {"format": _format(request.response, dialect)}
    if stream:
        body["stream"] = True
    return body | extra_of(request)


def _format(schema: ResponseSchema, dialect: Dialect) -> dict[str, Any]:
    if dialect.schemas == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": schema.name,
        "strict": schema.strict,
        "schema": schema.schema,
    }


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


def decode_responses(request: ChatRequest, body: bytes) -> ChatResponse:
    """Return the answer of `/responses`.

    Raises:
        BadModelAnswer, ContentRefused: as for chat completions.
        ModelError: the answer reports a failure.
    """
    try:
        answer = loads(body)
    except Unreadable as error:
        raise unreadable(request, body, error) from error
    if not isinstance(answer, dict):
        raise unreadable(request, body, "it is not an object")
    return _answer(request, answer, Assembly(request))


def _answer(request: ChatRequest, answer: dict[str, Any], assembly: Assembly) -> ChatResponse:
    """Return the response; what the assembly has already counts where the answer has nothing."""
    if failed := failure_in(request, answer):
        raise failed
    if answer.get("status") in ("failed", "cancelled"):
        raise failure(request, f"the answer is {answer['status']}, no reason given")
    assembly.named(string(answer.get("id")), string(answer.get("model")))
    assembly.finish = _finish(answer)
    assembly.counter.see(answer.get("usage"))
    items = records(answer.get("output"))
    if "output" not in answer and not assembly.begun:
        raise unreadable(request, b"", "it has no output")
    for item in items:
        _take_item(request, assembly, item)
    return assembly.response()


def _take_item(request: ChatRequest, assembly: Assembly, item: dict[str, Any]) -> None:
    match item.get("type"):
        case "function_call":
            assembly.calls.add(
                0,
                index=string(item.get("call_id")) or string(item.get("id")),
                call_id=string(item.get("call_id")),
                name=string(item.get("name")),
                arguments=arguments_in(item.get("arguments")),
            )
        case "message":
            for content in records(item.get("content")):
                if refusal := string(content.get("refusal")):
                    raise refused(request, refusal)
                assembly.text(text_in(content.get("text")))


def _finish(answer: dict[str, Any]) -> str:
    reason = string(record(answer.get("incomplete_details")).get("reason"))
    if not reason and answer.get("status") == "incomplete":
        return "length"
    return reason or "stop"


class ResponsesStream:
    """Takes the events of a streamed answer, one by one; the last one carries all of it.

    Attributes:
        ended: the server said that nothing follows.
        stray: what it sent that is not part of the format, for error messages.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._live = Assembly(request)
        self._items: list[dict[str, Any]] = []
        self._answer: dict[str, Any] | None = None
        self.ended = False
        self.stray = b""

    def feed(self, event: Event) -> str:
        """Return the text that an event adds.

        Raises:
            BadModelAnswer: it cannot be read.
            ModelUnavailable: the connection ended inside it.
            ModelError: it is an error in the middle of the stream.
        """
        data = event.data.strip()
        if data.strip(b'"') == b"[DONE]":
            self.ended = True
            return ""
        try:
            found = loads(data)
        except Unreadable as error:
            if event.name == "error":
                raise failure(self._request, data.decode("utf-8", "replace")) from None
            if data[:1] == b"{":
                cut = error.cut or not event.whole
                raise unreadable(self._request, data, Unreadable(str(error), cut=cut)) from None
            self.stray = self.stray or data[:300]
            return ""
        return self._take(string(record(found).get("type")) or event.name, record(found))

    def _take(self, kind: str, event: dict[str, Any]) -> str:
        match kind:
            case "response.output_text.delta":
                self._live.begun = True
                return self._live.text(text_in(event.get("delta")))
            case "response.output_item.done":
                self._items.append(record(event.get("item")))
            case "response.completed" | "response.incomplete" | "response.failed":
                self._answer = {"status": kind.partition(".")[2], **record(event.get("response"))}
                self.ended = True
            case "error":
                raise failure(self._request, event.get("error") or event)
            case _:
                if event.get("error"):
                    raise failure(self._request, event["error"])
        return ""

    @property
    def passed(self) -> str:
        """The text that `feed` returned so far."""
        return self._live.passed

    @property
    def finished(self) -> bool:
        """Whether the whole answer has come."""
        return self._answer is not None

    def response(self) -> ChatResponse:
        """Return the whole answer; errors as `decode_responses`."""
        answer = self._answer or {}
        if not records(answer.get("output")) and self._items:
            answer = {**answer, "output": self._items}
        if not records(answer.get("output")):  # its deltas are all that there is
            return _answer(self._request, answer, self._live)
        return _answer(self._request, answer, Assembly(self._request))
