"""One live subscription: a callback, or a bounded queue that is iterated."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from aixgo.broker.memory.dispatcher import Dispatcher
from aixgo.broker.port import BusMessage

_NO_QUEUE: deque[BusMessage] = deque(maxlen=0)


class SubscriberServer(Protocol):
    """What a subscription needs of the server."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it lives on."""
        ...

    @property
    def dispatcher(self) -> Dispatcher:
        """What runs callbacks."""
        ...


class SubscriberLink(Protocol):
    """What a subscription needs of its connection."""

    @property
    def server(self) -> SubscriberServer:
        """What the connection is to."""
        ...

    def emit(self, kind: str, detail: str = "") -> None:
        """Tell the listeners of an event."""
        ...

    def report(self, detail: str, error: BaseException) -> None:
        """Log what a callback raised, and tell the listeners."""
        ...

    def forget_subscription(self, subscription: MemorySubscription) -> None:
        """Let go of a subscription that ended."""
        ...


class MemorySubscription:
    """Implements `Subscription`.

    `offer` is the server's side and never runs user code; callbacks run from the dispatcher.
    """

    __slots__ = (
        "_callback",
        "_ended",
        "_full",
        "_left",
        "_link",
        "_muted",
        "_pending",
        "_prompt",
        "_queue",
        "_queued",
        "_wake",
        "dropped",
        "queue",
        "subject",
    )

    def __init__(
        self,
        link: SubscriberLink,
        subject: str,
        callback: Callable[[BusMessage], None] | None,
        *,
        queue: str,
        limit: int,
        pending: int,
        prompt: bool,
    ) -> None:
        self.subject, self.queue, self.dropped = subject, queue, 0
        self._prompt = prompt
        self._link, self._callback = link, callback
        self._left, self._pending = limit or -1, pending
        # a callback needs no queue here: the dispatcher has one for all
        self._queue: deque[BusMessage] = deque() if callback is None else _NO_QUEUE
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._ended = False  # nothing new comes
        self._muted = False  # nothing is handed out from now on
        self._full = False

    # -- the server's side ---------------------------------------------------------------------

    def offer(self, message: BusMessage) -> None:
        """Queue a message for the reader, or drop and count it if that is too slow."""
        if self._left > 0:
            self._left -= 1
            if not self._left:
                self.end()
        if self._callback is not None:
            dispatcher = self._link.server.dispatcher
            if self._prompt and not self._queued and not dispatcher.frozen:
                self._call(message)
            elif self._queued >= self._pending:
                self._drop()
            else:
                self._queued += 1
                dispatcher.put(self, message)
        elif len(self._queue) >= self._pending:
            self._drop()
        else:
            self._full = False
            self._queue.append(message)
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

    def _drop(self) -> None:
        self.dropped += 1
        if not self._full:  # one event for one time of slowness, not one for each message
            self._full = True
            self._link.emit(
                "slow_consumer",
                f"subscription to {self.subject!r} has {self._pending:,} messages waiting; more "
                "are dropped until its reader catches up",
            )

    def dispatch(self, message: BusMessage) -> None:
        """Run the callback; what it raises is reported and stops nothing."""
        self._queued -= 1
        self._full = False
        self._call(message)

    def _call(self, message: BusMessage) -> None:
        if self._muted or self._callback is None:
            return
        try:
            self._callback(message)
        except Exception as error:  # noqa: BLE001 - a bug in a callback must not end the dispatcher
            self._link.report(f"callback for {self.subject!r} raised", error)

    def end(self) -> None:
        """Take nothing new; what is queued can still be read."""
        if self._ended:
            return
        self._ended = True
        self._link.forget_subscription(self)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def mute(self) -> None:
        """Take nothing new and drop what is queued."""
        self._muted = True
        self._queue.clear()
        self.end()

    # -- the reader's side ---------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[BusMessage]:
        """See `Subscription`."""
        return self

    async def __anext__(self) -> BusMessage:
        """Return the next message; the iteration ends with the subscription."""
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            if self._wake is None or self._wake.done():
                self._wake = self._link.server.loop.create_future()
            await asyncio.shield(self._wake)
        return self._queue.popleft()

    async def unsubscribe(self) -> None:
        """See `Subscription.unsubscribe`."""
        self.mute()

    async def drain(self) -> None:
        """See `Subscription.drain`."""
        self.end()
