"""Callbacks of subscriptions, run from the event loop in the order of their messages."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from aixgo.broker.port import BusMessage


class Called(Protocol):
    """Something with a callback."""

    def dispatch(self, message: BusMessage) -> None:
        """Run it; it does not raise."""
        ...


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
        self._queue: deque[tuple[Called, BusMessage]] = deque()
        self._scheduled = False
        self.frozen = False

    def put(self, subscription: Called, message: BusMessage) -> None:
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
