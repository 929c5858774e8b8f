"""Deadlines that are nearly always met, at nearly no cost.

A timer of the event loop is an object in a heap, and a call needs several of them, minutes away and
cancelled within milliseconds. So deadlines wait in buckets of one second each, and become timers
of the loop, on time to the microsecond, when their second begins.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType

from aixgo.clock import timer


class Alarm(ABC):
    """Rings at a moment to come, once `Alarms.set` was told when; `cancel` is idempotent.

    What has a deadline is an alarm itself and overrides `ring`. One that kept a method of its owner
    would make a circle of references for each call, and keep all that the call held until the
    garbage collector comes.
    """

    __slots__ = ("_bucket", "_timer", "_when")

    def __init__(self) -> None:
        self._when = 0.0
        self._bucket: dict[Alarm, None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def ring(self) -> None:
        """Do what is due."""

    def cancel(self) -> None:
        """Do not ring."""
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._bucket, self._timer = None, loop.call_at(self._when, self.ring)


class Alarms:
    """The deadlines of one user of the running event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.time = timer(self.loop)
        self._buckets: dict[int, dict[Alarm, None]] = {}

    def set(self, alarm: Alarm, when: float) -> None:
        """Let an alarm that is not set ring at loop time `when`, soon when that is past."""
        second = int(when)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            self.loop.call_at(second, self._open, second)
        alarm._when, alarm._bucket = when, bucket
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
        self._alarms, self._when, self.expired = alarms, when, False
        self._bucket = self._timer = None

    def __enter__(self) -> Limit:
        task = asyncio.current_task(self._alarms.loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._alarms.set(self, self._when)
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

    def ring(self) -> None:
        """Cancel what is inside the block."""
        self.expired = True
        self._task.cancel()
