"""Deadlines that are nearly always met, at nearly no cost.

A timer of the event loop is an object in a heap, and a call needs several of them, minutes away and
cancelled within milliseconds. So deadlines wait in buckets of one second each, and become timers
of the loop, on time to the microsecond, when their second begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from aixgo.clock import timer


class Alarm:
    """A call at a moment to come; `cancel` is idempotent."""

    __slots__ = ("_bucket", "_call", "_timer", "_when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self._when, self._call = when, call
        self._bucket: dict[Alarm, None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
        elif self._bucket is not None:
            self._bucket.pop(self, None)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_at(self._when, self._call)


class Alarms:
    """The deadlines of one user of the running event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.time = timer(self.loop)
        self._buckets: dict[int, dict[Alarm, None]] = {}

    def at(self, when: float, call: Callable[[], None]) -> Alarm:
        """Call `call` at loop time `when`, soon when that is past."""
        alarm = Alarm(when, call)
        self._keep(alarm)
        return alarm

    def _keep(self, alarm: Alarm) -> None:
        second = int(alarm._when)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            self.loop.call_at(second, self._open, second)
        alarm._bucket = bucket
        bucket[alarm] = None

    def _open(self, second: int) -> None:
        for alarm in self._buckets.pop(second):
            alarm._arm(self.loop)

    def limit(self, when: float) -> Limit:
        """Return what `asyncio.timeout_at` would, as a plain context manager."""
        return Limit(self, when)


class Limit(Alarm):
    """Cancels the task inside the block at a moment and makes that a `TimeoutError`."""

    __slots__ = ("_alarms", "_cancelling", "_task", "expired")

    def __init__(self, alarms: Alarms, when: float) -> None:
        super().__init__(when, self._expire)
        self._alarms, self.expired = alarms, False

    def __enter__(self) -> Limit:
        task = asyncio.current_task(self._alarms.loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._alarms._keep(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()
        # the task may have been cancelled for another reason too: then it stays cancelled
        if (
            self.expired
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()
