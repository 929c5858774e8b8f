"""Uses the tools that a model asks for, and tells it what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from aixgo import Context
from aixgo.calls.json_schema import misfit
from aixgo.errors import (
    DeadlineExceeded,
    InvalidPayload,
    Refused,
    RemoteError,
    ToolFailed,
    ToolUnavailable,
    UnknownTool,
)
from aixgo.models import ChatMessage, ToolCall
from aixgo.payloads import to_payload
from aixgo.steps.context import Fault
from aixgo_services.react.confirmation import Confirmation, Declined
from aixgo_services.react.offer import Offer, Offered

MOST_CALLS = 32
"""Tools that one answer of a model may use; it is told of the others that they were not."""

_ERROR_CHARS = 4_000


class Acting:
    """Does in one run what its model asks for; every use of a tool is a step of the run."""

    def __init__(self, ctx: Context, offer: Offer, confirmation: Confirmation) -> None:
        self._ctx, self._offer, self._confirmation = ctx, offer, confirmation
        self.uses = 0
        """Tools that were used up to now, whatever came of it."""

    async def answer(self, turn: int, calls: Sequence[ToolCall]) -> list[ChatMessage]:
        """Return one message for each call, in the order of the calls; they run side by side."""
        self.uses += len(calls[:MOST_CALLS])
        keys = [f"{turn}.{number}" for number in range(1, len(calls) + 1)]
        if len(calls) == 1:
            texts = [await self._use(calls[0], keys[0])]
        else:
            texts = await self._ctx.gather(
                *(self._use(*one) for one in zip(calls[:MOST_CALLS], keys, strict=False)),
                key=f"turn{turn}",
            )
        rest = len(calls) - len(texts)
        texts += [f"Not used: one answer may use {MOST_CALLS} tools. Ask again for it."] * rest
        return [
            ChatMessage(role="tool", name=call.name, tool_call_id=call.id, content=text)
            for call, text in zip(calls, texts, strict=True)
        ]

    async def _use(self, call: ToolCall, key: str) -> str:
        """Return what the model is told of one use."""
        tool = self._offer.find(call.name)
        if tool is None:
            known = ", ".join(one.name for one in self._offer.definitions)
            return f"Error: there is no tool {call.name[:100]!r}; there are: {known}"
        arguments = _arguments(call.arguments, tool)
        if isinstance(arguments, str):
            return f"Error: {arguments}"
        try:
            value = await self._ctx.outcome(
                lambda: self._allowed(tool, arguments, key),
                UnknownTool,
                InvalidPayload,
                ToolUnavailable,
                key=key,
            )
        except Refused as error:
            return _shortened(f"Error: refused: {error.reason}")
        except ToolFailed as error:
            return _shortened(f"Error: the tool failed ({error.cause}): {error.text}")
        except (RemoteError, DeadlineExceeded) as error:  # of an agent that is used as a tool
            if self._ctx.remaining <= 0:
                raise
            return _shortened(f"Error: {error}")
        if isinstance(value, Fault):
            return _shortened(f"Error: {value.message}")
        return value if isinstance(value, str) else bytes(to_payload(value)).decode()

    async def _allowed(self, tool: Offered, arguments: dict[str, Any], key: str) -> Any:
        """Use a tool, once a person has allowed it where that is needed; returns its value."""
        if not self._confirmation.needed(tool):
            return await self._ctx.tool(tool.name, arguments, key=key)
        said = await self._confirmation.ask(self._ctx, tool, arguments, key)
        if isinstance(said, Declined):
            why = f": {said.reason}" if said.reason else "."
            return f"Not done: a person has declined this use of the tool{why}"
        value = await self._ctx.tool(tool.name, said, key=key)
        if said == arguments:
            return value
        return {"arguments_changed_by_a_person": said, "result": value}


def sayable(message: ChatMessage) -> ChatMessage:
    """Return a model's message as it can be sent back.

    Arguments that are not one JSON object, because the model was cut off or wrote something else,
    are left out: many servers refuse the whole conversation for them. The model is told of them in
    the tool's place.
    """
    calls = tuple(
        call if _is_object(call.arguments) else replace(call, arguments="{}")
        for call in message.tool_calls
    )
    return message if calls == message.tool_calls else replace(message, tool_calls=calls)


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _arguments(text: str, tool: Offered) -> dict[str, Any] | str:
    """Return the arguments that a model wrote, or what is wrong with them.

    By the schema that the model was told, before a person is asked about them; the tool itself
    checks them before it does anything.
    """
    try:
        found = msgspec.json.decode(text.strip() or "{}")
    except (msgspec.DecodeError, RecursionError) as error:
        return f"the arguments are not JSON: {error} (got {text[:200]})"
    if not isinstance(found, dict):
        return f"the arguments must be one JSON object, not {text[:200]}"
    wrong = misfit(found, tool.definition.parameters)
    return f"the arguments do not fit: {wrong}" if wrong else found


def _shortened(text: str) -> str:
    return text if len(text) <= _ERROR_CHARS else f"{text[:_ERROR_CHARS]}…"
