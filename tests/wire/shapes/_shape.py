"""One recorded shape: what a server sent, and what must come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps
from typing import Any, Literal

from aixgo.errors import ModelError

Usage = tuple[int, int, int]
"""Prompt, completion and cached tokens."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a server sent to a request, and the answer or the error that it is.

    Attributes:
        name: the server or the row of the table of cases, and what is odd.
        body: the bytes after the headers.
        asked: how the request was made.
        then: what the server did with the connection afterwards.
        schema: the request asked for an object with a `city`.
        calls: name and arguments of the tool calls.
        error: class of the error, when it is one.
        says: words that the error must have.
        requests: how many are made until there is an answer.
    """

    name: str
    body: bytes
    asked: Literal["chat", "stream"] = "stream"
    wire: Literal["chat", "responses"] = "chat"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Literal["end", "hold", "break"] = "end"
    schema: bool = False
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str = "stop"
    usage: Usage | None = None
    error: type[ModelError] | None = None
    says: str = ""

    @property
    def id(self) -> str:
        """Name of the test."""
        return f"{self.asked}-{self.name}"


def events(*values: Any, done: bool = True) -> bytes:
    """Return a stream of JSON events; texts are lines as they are."""
    lines = [v if isinstance(v, str) else f"data: {dumps(v)}\n\n" for v in values]
    return "".join([*lines, *(["data: [DONE]\n\n"] if done else [])]).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk of a stream."""
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": fields, "finish_reason": finish}],
    }


def said(text: str, finish: str | None = "stop") -> list[dict[str, Any]]:
    """Return the chunks of a text, in two pieces."""
    middle = (len(text) + 1) // 2
    return [delta(content=text[:middle]), delta(content=text[middle:]), delta(finish)]


def call(name: str | None = None, arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return an entry of `tool_calls`; what is None is left out."""
    function = {"name": name, "arguments": arguments}
    return {**fields, "function": {k: v for k, v in function.items() if v is not None}}


def whole(message: Any = None, finish: Any = "stop", **fields: Any) -> bytes:
    """Return a completion in one piece."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return dumps({"id": "c1", "model": "m", "choices": [choice], **fields}).encode()


def text(content: Any, **fields: Any) -> dict[str, Any]:
    """Return the message of an answer."""
    return {"role": "assistant", "content": content, **fields}
