"""A schema carried out as a tool that the model must call: its arguments are the answer."""

from __future__ import annotations

from msgspec.structs import replace

from aixgo.models.port import ChatRequest, ChatResponse, Choice, ToolDefinition
from aixgo.models.providers import Dialect
from aixgo.models.wires.answers import checked
from aixgo.models.wires.schemas import json_in

_TOLD = "Give your answer by calling this tool, once and with all of it."


def as_tool(request: ChatRequest, dialect: Dialect) -> ChatRequest:
    """Return the request with its schema as a tool, where the model is asked in that way.

    A request that offers tools stays as it is, because the model must be free to call those; its
    schema goes into the prompt.
    """
    schema = request.response
    if schema is None or dialect.schemas != "tool" or request.tools:
        return request
    tool = ToolDefinition(name=schema.name, description=_TOLD, parameters=schema.schema)
    return replace(
        request, response=None, tools=(tool,), tool_choice=schema.name, parallel_tools=None
    )


def from_tool(request: ChatRequest, response: ChatResponse) -> ChatResponse:
    """Return the answer to `as_tool` of a request as one to the request: text that is the JSON.

    Raises:
        BadModelAnswer, ContentRefused: see `answers.checked`.
    """
    choices = tuple(_as_text(request, choice) for choice in response.choices)
    return checked(request, replace(response, choices=choices))


def _as_text(request: ChatRequest, choice: Choice) -> Choice:
    schema, message = request.response, choice.message
    if schema is None:
        return choice
    given = next((call for call in message.tool_calls if call.name == schema.name), None)
    text = given.arguments if given is not None else json_in(message.text, schema.schema)
    finish = "stop" if choice.finish_reason == "tool_calls" else choice.finish_reason
    message = replace(message, content=text, tool_calls=())
    return replace(choice, message=message, finish_reason=finish)
