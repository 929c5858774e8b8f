"""One live subscription: a callback, or a bounded queue that somebody iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from aixgo.broker.port import BusMessage

if TYPE_CHECKING:
    from aixgo.broker.memory.connection import Connection


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
        link: Connection,
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
        self._queue: deque[BusMessage] = deque()
        self._queued = 0
        self._wake: asyncio.Future[None] | None = None
        self._ended = False  # nothing new comes
        self._muted = False  # nothing is handed out any more
        self._full = False

    # -- the server's side ---------------------------------------------------------------------

    def offer(self, message: BusMessage) -> None:
        """Queue a message for the reader, or drop and count it if he is too slow."""
        if self._left > 0:
            self._left -= 1
            if not self._left:
                self.end()
        if self._callback is not None:
            if self._queued >= self._pending:
                self._drop()
                return
            self._queued += 1
            dispatcher = self._link.server.dispatcher
            if self._prompt and not self._queued > 1 and not dispatcher.frozen:
                self.dispatch(message)
            else:
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


class _Milestone:
    """A place in the dispatcher's queue."""

    __slots__ = ("_passed",)

    def __init__(self, passed: asyncio.Future[None]) -> None:
        self._passed = passed

    def dispatch(self, message: BusMessage) -> None:
        """Say that everything before it has run."""
        if not self._passed.done():
            self._passed.set_result(None)


_NOTHING = BusMessage("", b"")


class Dispatcher:
    """Runs callbacks from the event loop, in the order of their messages, in batches."""

    BATCH = 256
    """Callbacks in a row; then the event loop gets a turn."""

    __slots__ = ("_loop", "_queue", "_scheduled", "frozen")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[tuple[MemorySubscription | _Milestone, BusMessage]] = deque()
        self._scheduled = False
        self.frozen = False

    def put(self, subscription: MemorySubscription | _Milestone, message: BusMessage) -> None:
        """Queue one callback."""
        self._queue.append((subscription, message))
        if not self._scheduled and not self.frozen:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def milestone(self) -> asyncio.Future[None]:
        """Return a future that is done when every callback queued until now has run."""
        passed = self._loop.create_future()
        self.put(_Milestone(passed), _NOTHING)
        return passed

    def freeze(self, frozen: bool) -> None:
        """Run nothing while frozen."""
        self.frozen = frozen
        if not frozen and self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        queue = self._queue
        try:
            for _ in range(min(len(queue), self.BATCH)):
                if self.frozen:  # a callback may freeze the server
                    break
                subscription, message = queue.popleft()
                subscription.dispatch(message)
        finally:
            if queue and not self.frozen:
                self._loop.call_soon(self._run)
            else:
                self._scheduled = False
