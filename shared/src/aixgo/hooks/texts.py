"""The texts in what hooks look at: requests and answers of models, and JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from aixgo.models.messages import ChatMessage, TextPart
from aixgo.models.port import ChatRequest, ChatResponse, EmbedRequest


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text of a value, and its numbers and names of members as texts.

    Of a conversation it is the text of all messages but the system's.
    """
    if isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from texts_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts_in(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    else:
        found: list[str] = []

        def note(text: str) -> str:
            found.append(text)
            return text

        with_texts(value, note)
        yield from found


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with each of its texts changed; names of members stay as they are.

    In a model's answer the arguments of tools are left alone: they are looked at before the tool is
    used.
    """
    match value:
        case str():
            return change(value)
        case ChatRequest():
            return replace(value, messages=tuple(_message(one, change) for one in value.messages))
        case ChatResponse():
            choices = (replace(one, message=_message(one.message, change)) for one in value.choices)
            return replace(value, choices=tuple(choices))
        case EmbedRequest():
            return replace(value, input=tuple(map(change, value.input)))
        case dict():
            return {key: with_texts(one, change) for key, one in value.items()}
        case list() | tuple():
            return [with_texts(one, change) for one in value]
        case _:
            return value


def _message(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    if message.role == "system":
        return message
    content = message.content
    if isinstance(content, str):
        return replace(message, content=change(content))
    parts = (
        replace(part, text=change(part.text)) if isinstance(part, TextPart) else part
        for part in content
    )
    return replace(message, content=tuple(parts))
