"""Requests in the format of OpenAI's chat completions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from aixgo.errors import BadModelRequest
from aixgo.models.messages import ChatMessage, TextPart
from aixgo.models.port import ChatRequest, ResponseSchema, ToolDefinition
from aixgo.models.providers import Dialect, split_model
from aixgo.models.wires.answers import extra_of
from aixgo.models.wires.schemas import instruction

_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def chat_body(request: ChatRequest, dialect: Dialect, *, stream: bool) -> dict[str, Any]:
    """Return the body of a request to `/chat/completions`; what is not set is not sent."""
    _, model = split_model(request.model)
    conversation: Sequence[ChatMessage] = request.messages
    if request.response is not None and dialect.schemas != "json_schema":
        conversation = told(conversation, request.response)
    body: dict[str, Any] = {"model": model, "messages": messages(conversation, dialect)}
    body |= sampling(request)
    if request.max_tokens is not None:
        body[dialect.max_tokens_field] = request.max_tokens
    if request.seed is not None:
        body[dialect.seed_field] = request.seed
    if request.tools:
        body["tools"] = [{"type": "function", "function": function(tool)} for tool in request.tools]
        if request.tool_choice:
            choice = tool_choice(request.tool_choice)
            body["tool_choice"] = dialect.any_tool if choice == "required" else choice
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools
    if request.response is not None and dialect.schemas in {"json_schema", "json_object"}:
        body["response_format"] = _response_format(request.response, dialect)
    if stream:
        body["stream"] = True
        if dialect.stream_options:
            body["stream_options"] = {"include_usage": True}
    return body | extra_of(request)


def _response_format(schema: ResponseSchema, dialect: Dialect) -> dict[str, Any]:
    if dialect.schemas == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.name, "strict": schema.strict, "schema": schema.schema},
    }


def told(conversation: Sequence[ChatMessage], schema: ResponseSchema) -> tuple[ChatMessage, ...]:
    """Return the conversation with the schema in the system message, or in one of its own."""
    if conversation and conversation[0].role == "system":
        first, *rest = conversation
        text = f"{text_only(first)}\n\n{instruction(schema)}"
        return (replace(first, content=text), *rest)
    return (ChatMessage(role="system", content=instruction(schema)), *conversation)


def sampling(request: ChatRequest) -> dict[str, Any]:
    """Return temperature, top_p and stop, as far as they are set."""
    fields: dict[str, Any] = {}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        fields["top_p"] = request.top_p
    if request.stop:
        fields["stop"] = list(request.stop)
    return fields


def messages(conversation: Sequence[ChatMessage], dialect: Dialect) -> list[dict[str, Any]]:
    """Return a conversation as the wire has it."""
    return [_message(message, dialect) for message in conversation]


def _tool_id(given: str, dialect: Dialect) -> str:
    """Return an id of a tool call as the wire takes it; equal ids stay equal.

    A conversation that another provider began has ids of that provider's form.
    """
    if not dialect.short_tool_ids or _SHORT_ID.fullmatch(given):
        return given
    return blake2b(given.encode(), digest_size=5).hexdigest()[:9]


def _message(message: ChatMessage, dialect: Dialect) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role}
    if message.content or not message.tool_calls:
        found["content"] = _content(message)
    if message.role == "tool":
        # its `name` stays here: OpenAI and most of its imitators know only the id
        found["tool_call_id"] = _tool_id(message.tool_call_id, dialect)
        return found
    if message.name:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": _tool_id(call.id, dialect),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return found


def _content(message: ChatMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    if message.role != "user" or not message.images:
        return text_only(message)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.address}}
        for part in message.content
    ]


def text_only(message: ChatMessage) -> str:
    """Return the text of a message where the wire has no place for images.

    Raises:
        BadModelRequest: it has images.
    """
    if message.images:
        raise BadModelRequest(
            f"a message of role {message.role!r} has an image, which this provider's API takes "
            "from role 'user' only; put it into a message of the user"
        )
    return message.text


def function(tool: ToolDefinition) -> dict[str, Any]:
    """Return a tool's description; one without parameters takes an empty object."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }


def tool_choice(choice: str) -> str | dict[str, Any]:
    """Return `auto`, `none` and `required` as they are, and a tool's name as an object."""
    if choice in {"auto", "none", "required"}:
        return choice
    return {"type": "function", "function": {"name": choice}}
