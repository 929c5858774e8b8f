"""One request over HTTP as a tool."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.net.answers import Answers
from aixgo.tools.port import (
    Arguments,
    Connected,
    Effect,
    Resolution,
    ToolContext,
    ToolSpec,
    Unknown,
)

if TYPE_CHECKING:
    from aixgo.tools.net.exchange import Call
    from aixgo.tools.net.web import Web

EFFECT_OF_METHOD: dict[str, Effect] = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "PUT": "idempotent",
    "DELETE": "idempotent",
    "POST": "once",
    "PATCH": "once",
}
"""What a second request does, by its method (RFC 9110, 9.2), where nothing else is said."""


class Requests(Protocol):
    """Makes the request of a tool from its arguments."""

    @property
    def method(self) -> str:
        """The method, in capital letters."""
        ...

    def call(self, arguments: Arguments) -> Call:
        """Return the request.

        Raises:
            InvalidPayload: a value cannot go where it belongs.
        """
        ...


class HttpTool(Connected):
    """A request over HTTP as a tool (`aixgo.tools.Tool`).

    Args:
        key_header: gets the idempotency key, unless the tool only reads; empty for none.
        follow: redirects, at the same origin.
    """

    def __init__(
        self,
        spec: ToolSpec,
        arguments: JsonArguments,
        requests: Requests,
        answers: Answers,
        web: Web,
        *,
        key_header: str,
        follow: bool = True,
    ) -> None:
        self.spec = spec
        self._arguments, self._requests, self._answers = arguments, requests, answers
        self._web, self._follow = web, follow
        self._key_header = key_header if spec.effect != "read" else ""

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r}, effect={self.spec.effect!r}>"

    async def open(self) -> None:
        """See `Connected.open`."""
        await self._web.open()

    async def close(self) -> None:
        """See `Connected.close`."""
        await self._web.close()

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        arguments = self._arguments.decode(payload)
        self._requests.call(arguments)
        return arguments

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """See `Tool.execute`."""
        call = self._requests.call(arguments)
        if self._key_header:
            call = replace(call, headers={**call.headers, self._key_header: ctx.idempotency_key})
        reply = await self._web.send(call, remaining=ctx.remaining, follow=self._follow)
        return self._answers.value(reply, call.method)

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """See `Tool.reconcile`."""
        return Unknown(f"the request of tool {self.spec.name!r} has no answer that was seen")

    def read(self, body: bytes) -> Any:
        """See `Tool.read`."""
        return msgspec.json.decode(body)
