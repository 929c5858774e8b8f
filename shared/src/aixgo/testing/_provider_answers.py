"""What the fake provider can be told to answer, and how that looks in each of its formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from aixgo.models.messages import ToolCall

encode = msgspec.json.Encoder().encode

PROMPT_TOKENS, COMPLETION_TOKENS, CACHED_TOKENS = 50, 12, 20
"""What every answer claims to have used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How an answer arrives.

    Attributes:
        delay: seconds before its first byte.
        drip: seconds between the pieces of a stream.
        hang: never send the first byte (or, in a stream, anything after the first piece).
        cut: close the connection after so many pieces of a stream.
    """

    delay: float = 0.0
    drip: float = 0.0
    hang: bool = False
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Say(Timing):
    """An answer: text, tool calls or both."""

    text: str = ""
    tool_calls: Sequence[ToolCall] = field(default=(), kw_only=True)
    finish_reason: str = field(default="", kw_only=True)
    choices: bool = field(default=True, kw_only=True)
    usage: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class Fail(Timing):
    """An error: a status, with the provider's text and the seconds that it asks to wait."""

    status: int = 500
    message: str = field(default="it did not work", kw_only=True)
    code: str | None = field(default=None, kw_only=True)
    retry_after: float | str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Raw(Timing):
    """These bytes, whatever they are.

    Attributes:
        then: what becomes of the connection after them: it ends as it should, stays open with
            nothing more coming, or breaks.
        each: bytes of one write; 0 for all at once.
    """

    body: bytes = b""
    then: Literal["end", "hold", "break"] = field(default="end", kw_only=True)
    each: int = field(default=0, kw_only=True)
    status: int = field(default=200, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)


Behaviour = Say | Fail | Raw


_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
}
_RESPONSES_USAGE = {
    "input_tokens": PROMPT_TOKENS,
    "output_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
}


def vector_of(text: str) -> list[float]:
    """Return the vector that the server returns for a text."""
    return [byte / 255 for byte in hashlib.blake2b(text.encode(), digest_size=4).digest()]


def _finish(answer: Say) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _halves(text: str) -> Iterator[str]:
    """Give a text in pieces, so that assembling is really tested."""
    middle = (len(text) + 1) // 2
    yield from filter(None, (text[:middle], text[middle:]))


def _words(text: str) -> Iterator[str]:
    words = text.split(" ")
    yield from filter(None, (w + " " if i < len(words) - 1 else w for i, w in enumerate(words)))


def _calls(answer: Say) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.tool_calls
    ]


def completion(answer: Say, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.tool_calls:
        message["tool_calls"] = _calls(answer)
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1763700000,
        "model": body["model"],
        "choices": [choice] if answer.choices else [],
        "usage": _USAGE if answer.usage else None,
    }


def chunks(answer: Say, body: dict[str, Any]) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _event({**head, "choices": choices if answer.choices else []})

    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1763700000,
        "model": body["model"],
    }
    yield chunk({"role": "assistant", "content": ""})
    for piece in _words(answer.text):
        yield chunk({"content": piece})
    for index, call in enumerate(_calls(answer)):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield chunk({"tool_calls": [{**call, "index": index, "function": function}]})
        for piece in _halves(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(answer))
    if answer.usage and (body.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _USAGE})
    yield b"data: [DONE]\n\n"


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    rows = [
        {"object": "embedding", "index": index, "embedding": vector_of(text)}
        for index, text in enumerate(texts)
    ]
    rows.reverse()  # the index says which is which, not the order
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    return {"object": "list", "model": body["model"], "data": rows, "usage": usage}


def response(answer: Say, body: dict[str, Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "content": [part]})
    items += [
        {
            "type": "function_call",
            "id": f"fc_{index}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for index, call in enumerate(answer.tool_calls)
    ]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1763700000,
        "model": body["model"],
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": items,
        "usage": _RESPONSES_USAGE,
    }


def response_events(answer: Say, body: dict[str, Any]) -> Iterator[bytes]:
    whole = response(answer, body)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield _event({"type": "response.created", "response": begun}, "response.created")
    for piece in _words(answer.text):
        kind = "response.output_text.delta"
        yield _event({"type": kind, "item_id": "msg_1", "delta": piece}, kind)
    for index, call in enumerate(answer.tool_calls):
        kind = "response.function_call_arguments.delta"
        for piece in _halves(call.arguments):
            yield _event({"type": kind, "item_id": f"fc_{index}", "delta": piece}, kind)
    yield _event({"type": "response.completed", "response": whole}, "response.completed")


def _event(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(value) + b"\n\n"
