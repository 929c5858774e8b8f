"""Subscriptions: a callback in the read loop, or a bounded queue that is iterated."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.link import Listener
from aixgo.broker.port import BusMessage
from aixgo.errors import ConfigError, ConnectionClosed, Disconnected

DRAIN_SECONDS = 2.0
"""For the server to read the end of a subscription and send what it had on the way."""


class Called:
    """A subscription with a callback; see `Subscription`."""

    __slots__ = ("_connection", "_listener")

    dropped = 0
    """A callback is called at once, so nothing waits and nothing is dropped."""

    def __init__(
        self,
        connection: Connection,
        subject: str,
        on_message: Callable[[BusMessage], None],
        queue: str,
        limit: int,
    ) -> None:
        self._connection = connection
        self._listener = Listener(subject, on_message, queue=queue, limit=limit)
        connection.link.listen(self._listener)

    def __aiter__(self) -> AsyncIterator[BusMessage]:
        raise ConfigError(
            f"the subscription to {self._listener.subject!r} has a callback; leave `on_message` "
            "out to iterate it"
        )

    async def unsubscribe(self) -> None:
        """See `Subscription.unsubscribe`."""
        self._connection.link.unlisten(self._listener)

    async def drain(self) -> None:
        """See `Subscription.drain`."""
        await retire(self._connection, self._listener)

    def end(self) -> None:
        """The connection is closed; nothing waits here."""


class Iterated:
    """A subscription that is iterated, with a bound on what may wait; see `Subscription`."""

    def __init__(
        self, connection: Connection, subject: str, queue: str, limit: int, pending: int
    ) -> None:
        self._connection = connection
        self._pending = pending
        self._messages: deque[BusMessage] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._slow = False
        self._dropped = 0
        self._listener = Listener(subject, self._arrive, queue=queue, limit=limit)
        self._listener.ended = self.end
        connection.link.listen(self._listener)

    @property
    def dropped(self) -> int:
        """See `Subscription.dropped`."""
        return self._dropped

    def _arrive(self, message: BusMessage) -> None:
        if len(self._messages) < self._pending:
            self._messages.append(message)
            self._changed.set()
            return
        self._dropped += 1
        if not self._slow:
            self._slow = True  # told once, until the reader has caught up
            self._connection.events.emit(
                "slow_consumer",
                f"the reader of {self._listener.subject!r} is slower than its messages: "
                f"{self._pending:,} wait, more are dropped; read faster or raise `pending`",
            )

    def __aiter__(self) -> AsyncIterator[BusMessage]:
        return self

    async def __anext__(self) -> BusMessage:
        while not self._messages:
            self._slow = False
            if self._listener.refusal is not None:
                raise self._listener.refusal
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    def end(self) -> None:
        """Let the reader finish what waits and then stop."""
        self._ended = True
        self._changed.set()

    async def unsubscribe(self) -> None:
        """See `Subscription.unsubscribe`."""
        self._connection.link.unlisten(self._listener)
        self._messages.clear()
        self.end()

    async def drain(self) -> None:
        """See `Subscription.drain`."""
        await retire(self._connection, self._listener)
        self.end()


async def retire(connection: Connection, listener: Listener) -> None:
    """End a subscription, but take what the server has sent already; bounded."""
    with suppress(TimeoutError, Disconnected, ConnectionClosed):
        async with asyncio.timeout(DRAIN_SECONDS):
            await connection.link.retire(listener)
