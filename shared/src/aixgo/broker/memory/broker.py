"""The memory broker: every role on one connection."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aixgo.broker.memory.admin import MemoryAdmin
from aixgo.broker.memory.bus import MemoryBus
from aixgo.broker.memory.log import MemoryLog

DRAIN_SECONDS = 30.0
"""Time that running handlers and queued callbacks get when a connection is drained."""


class MemoryBroker(MemoryBus, MemoryLog, MemoryAdmin):
    """Implements `Broker` inside the process, with the semantics of a nats-server.

    Without a `server` it gets its own; connections to one server see each other. Only bytes pass,
    so nothing is shared by accident. Time is the event loop's, so a virtual loop moves it.

    Args:
        server: what the connection is to.
        name: of the connection, for logs and errors.
        max_payload: bytes of a message with its headers.
    """

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(drain=error is None)

    async def close(self, *, drain: bool = True) -> None:
        """See `Broker.close`."""
        if self.closed:
            return
        try:
            await self._stop_consumptions(DRAIN_SECONDS if drain else 0.0)
            if drain:
                await self._drain()
        finally:
            self._finish(drain=drain)

    async def _stop_consumptions(self, grace: float) -> None:
        """Stop all pulls first, then wait; in this task, for it may be one of their handlers."""
        consumptions = list(self._consumptions)
        for consumption in consumptions:
            consumption.halt()
        end = self.server.loop.time() + grace
        for consumption in consumptions:
            await consumption.stop(max(end - self.server.loop.time(), 0.0))

    async def _drain(self) -> None:
        """Take nothing new and let the callbacks of what was queued run."""
        for subscription in list(self._subscriptions):
            subscription.end()
        await asyncio.wait([self.server.dispatcher.milestone()], timeout=DRAIN_SECONDS)

    def _finish(self, *, drain: bool) -> None:
        if self.closed:
            return
        if not drain:
            for subscription in list(self._subscriptions):
                subscription.mute()
        self._end()
        self.emit("closed", f"connection {self.title!r} was closed")
