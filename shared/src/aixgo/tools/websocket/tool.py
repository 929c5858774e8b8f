"""A question over a WebSocket as a tool; one connection serves a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aixgo.envelope import new_id
from aixgo.errors import InvalidPayload, ToolNotDone, ToolUnavailable
from aixgo.pauses import Pauses
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.net.exchange import origin_of
from aixgo.tools.net.templates import JsonTemplate, Template
from aixgo.tools.net.web import Web
from aixgo.tools.port import Arguments, Connected, Resolution, ToolContext, ToolSpec, Unknown
from aixgo.tools.websocket.replies import Reading, Replies
from aixgo.tools.websocket.wire import Wire

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 30.0
"""Between two attempts to connect; a request in between is told to come back."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """How the far side is reached.

    Attributes:
        headers: of the handshake, with secrets.
        id_field: member that gets the number of a request, and that the far side repeats.
        key_field: member that gets the idempotency key.
        heartbeat: seconds between pings.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    id_field: str
    key_field: str
    heartbeat: float
    max_bytes: int


class _Shared:
    """The connection of one event loop, opened again when it is lost."""

    def __init__(self) -> None:
        self.users = 0
        self.turn = asyncio.Lock()
        self.wire: Wire | None = None
        self.closing: list[Wire] = []
        self._connecting = asyncio.Lock()
        self._pauses = Pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._not_before, self._failure = 0.0, ""

    async def get(self, tool: WebSocketTool, remaining: float) -> Wire:
        async with self._connecting:
            if self.wire is not None and self.wire.usable:
                return self.wire
            loop = asyncio.get_running_loop()
            wait = self._not_before - loop.time()
            if wait > 0:
                raise ToolUnavailable(
                    f"{self._failure}; the next attempt is in {wait:.1f} s", retry_after=wait
                )
            try:
                wire = await tool.connected(remaining)
            except ToolNotDone as error:
                self._failure = str(error)
                self._not_before = loop.time() + self._pauses.take()
                raise
            self._pauses.reset()
            if self.wire is not None:
                self.closing = [one for one in self.closing if not one.over]
                self.closing.append(self.wire)
            self.wire = wire
            return wire

    async def close(self) -> None:
        for wire in (*self.closing, *([self.wire] if self.wire else [])):
            await wire.close()


class WebSocketTool(Connected):
    """A question over a WebSocket as a tool (`aixgo.tools.Tool`).

    While it is open (`open` is counted) one connection is kept for all requests of the process;
    otherwise each request has its own. Without an `id_field` requests take turns, and one that is
    given up takes the connection along, because its answer may still come.
    """

    def __init__(
        self,
        spec: ToolSpec,
        arguments: JsonArguments,
        message: JsonTemplate | Template,
        line: Line,
        reading: Reading,
        web: Web,
    ) -> None:
        self.spec = spec
        self._arguments, self._message = arguments, message
        self._line, self._reading, self._web = line, reading, web
        self._held: dict[asyncio.AbstractEventLoop, _Shared] = {}

    def __repr__(self) -> str:
        return f"<tool {self.spec.name!r}, effect={self.spec.effect!r}>"

    async def open(self) -> None:
        """See `Connected.open`."""
        await self._web.open()
        self._held.setdefault(asyncio.get_running_loop(), _Shared()).users += 1

    async def close(self) -> None:
        """See `Connected.close`."""
        loop = asyncio.get_running_loop()
        shared = self._held.get(loop)
        if shared is not None:
            shared.users -= 1
            if shared.users <= 0:
                del self._held[loop]
                await shared.close()
        await self._web.close()

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        arguments = self._arguments.decode(payload)
        self._text(arguments, "", "")
        return arguments

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """See `Tool.execute`."""
        request = new_id() if self._line.id_field else ""
        text = self._text(arguments, request, ctx.idempotency_key)
        shared = self._held.get(asyncio.get_running_loop())
        if shared is None:
            async with self._own(ctx.remaining) as wire:
                return await self._ask(wire, request, text)
        if request:
            return await self._ask(await shared.get(self, ctx.remaining), request, text)
        async with shared.turn:
            wire = await shared.get(self, ctx.remaining)
            try:
                return await self._ask(wire, request, text)
            except BaseException:
                wire.drop()
                raise

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """See `Tool.reconcile`."""
        return Unknown(f"the message of tool {self.spec.name!r} has no answer that was seen")

    def read(self, body: bytes) -> Any:
        """See `Tool.read`."""
        return msgspec.json.decode(body)

    async def connected(self, remaining: float) -> Wire:
        """Return a new connection among those that are kept.

        Raises:
            ToolNotDone, ToolUnavailable: see `Web.websocket`.
        """
        async with self._web.session() as session:
            return await self._wire(session, remaining)

    @asynccontextmanager
    async def _own(self, remaining: float) -> AsyncGenerator[Wire, None]:
        async with self._web.session() as session:
            wire = await self._wire(session, remaining)
            try:
                yield wire
            finally:
                await wire.close()

    async def _wire(self, session: Any, remaining: float) -> Wire:
        line = self._line
        socket = await self._web.websocket(
            session, line.url, line.headers, heartbeat=line.heartbeat, remaining=remaining
        )
        return Wire(
            socket,
            self._reading.what,
            origin_of(line.url),
            id_field=line.id_field,
            max_bytes=line.max_bytes,
        )

    async def _ask(self, wire: Wire, request: str, text: str) -> Any:
        replies = Replies(self._reading)
        with wire.listening(request) as inbox:
            await wire.send(text)
            while not replies.take(await inbox.get()):
                pass
        return replies.value

    def _text(self, arguments: Arguments, request: str, key: str) -> str:
        if isinstance(self._message, Template):
            text = self._message.fill(arguments)
            if text is None:
                raise InvalidPayload(f"{self._reading.what}: the message needs all arguments")
            return text
        message = self._message.fill(arguments)
        if self._line.id_field:
            message[self._line.id_field] = request
        if self._line.key_field and self.spec.effect != "read":
            message[self._line.key_field] = key
        return msgspec.json.encode(message).decode()
